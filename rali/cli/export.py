"""`rali export`: the ONNX file of a model folder, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rali.errors import InputError


def export(
    model: Annotated[str, typer.Argument(help="Model folder, hub id, or 'builtin'.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write.", show_default="MODEL/onnx/model.onnx"),
    ] = None,
    picture: Annotated[
        list[Path] | None,
        typer.Option(
            help="Picture to compare torch and ONNX on; repeat for more.",
            show_default="photographs of scikit-image and scikit-learn",
        ),
    ] = None,
    image: Annotated[
        bool,
        typer.Option(
            "--image",
            help="Also write model_image.onnx, which resizes pictures of any size itself.",
        ),
    ] = False,
) -> None:
    """Write a model as one ONNX file and compare its scores with torch's.

    Example: rali export runs/mine/model
    """  # fmt: skip
    from rali.export import export_checked, export_image
    from rali.student import Student

    if output is None:
        if not Path(model).is_dir():
            raise InputError(
                f"{model} is not a folder here; say where to write with --output FILE."
            )
        output = Path(model) / "onnx" / "model.onnx"
    student = Student.from_pretrained(model)
    agreement = export_checked(student, output, picture)
    typer.echo(
        f"{output}: {output.stat().st_size / 1e6:.1f} MB, largest difference from torch "
        f"{agreement.max_difference:.1e} on {len(agreement.onnx_scores)} pictures"
    )
    if image:
        beside = output.with_stem(f"{output.stem}_image")
        difference = export_image(output, beside, picture)
        typer.echo(
            f"{beside}: {beside.stat().st_size / 1e6:.1f} MB, Pillow's pixels, largest difference "
            f"from {output.name} {difference:.1e}"
        )
