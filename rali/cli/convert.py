"""`rali convert`: released checkpoints as model folders, and CLIP's weights with other names."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rali.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    help="Convert released checkpoints. Nothing but their arrays is ever loaded.\n\n"
    "Example: rali convert official-rali RALI/ -o model/",
)


class Names(StrEnum):
    """The library whose names CLIP's weights get."""

    open_clip = "open-clip"
    hugging_face = "hugging-face"


@app.command("official-rali")
def official_rali(
    source: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A folder with ckpt.pt, pca.pkl, basis.npz and best/."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The model folder to write.")
    ],
) -> None:
    """Convert the authors' released RALI to a model folder.

    Example: rali convert official-rali RALI/ -o rali-vit-l/
    """
    from rali.student.convert import convert_official_rali

    student = convert_official_rali(source, output)
    typer.echo(
        f"{output}: {student.config.bases} bases of {student.config.pca_dim} dimensions, "
        f"τ = {student.config.temperature:.3g}. Next: rali export {output}"
    )


@app.command("clip")
def clip(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="The .safetensors file of a CLIP.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The .safetensors file to write.")
    ],
    to: Annotated[
        Names, typer.Option(help="The library whose names the weights get.")
    ] = Names.open_clip,
) -> None:
    """Rename CLIP's weights from Hugging Face's names to open_clip's, or back.

    Example: rali convert clip model.safetensors -o open_clip.safetensors
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from rali.student.clip_names import to_hugging_face, to_open_clip
    from rali.student.storage import write_tensors

    try:
        state = load_file(source)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{source} cannot be read as a .safetensors file: {error}.") from error
    found = to_open_clip(state) if to is Names.open_clip else to_hugging_face(state)
    if not found:
        raise InputError(f"{source} holds no weights of a CLIP that {to.value} has names for.")
    write_tensors({name: value.contiguous() for name, value in found.items()}, output)
    typer.echo(f"{output}: {len(found)} of {len(state)} tensors.")
