"""What the commands that ask a teacher share: options, loading, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from rali.errors import InputError

from ._model import TEACHER_HELP

if TYPE_CHECKING:
    from rali.data.manifest import Row
    from rali.teacher.engines import Engine, TransformersEngine
    from rali.teacher.requests import Request, Sampling
    from rali.teacher.server import ServerConfig

Model = Annotated[str, typer.Option("--model", "-m", help=f"The teacher: {TEACHER_HELP}")]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        help="What generates the texts: transformers, vllm, ray, which runs vLLM on many GPUs and "
        "machines, or openai, a server at --base-url.",
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="Address of an OpenAI-compatible server, such as http://localhost:8000/v1. The "
        "teacher is then a model's name there; a key is read from the variable OPENAI_API_KEY.",
        show_default="none",
    ),
]
PromptName = Annotated[
    str, typer.Option(help="A prompt's name, or a YAML file with a question of your own.")
]
MaxTokens = Annotated[int, typer.Option(min=1, help="Longest text, in tokens.")]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        help="A picture with more pixels is shrunk to this many.", show_default="the model's own"
    ),
]
MinPixels = Annotated[
    int | None,
    typer.Option(
        help="A picture with fewer pixels is enlarged to this many.", show_default="the model's own"
    ),
]
_AUTHORS = "as the teacher's authors do, else"
TRAINED = "what the teacher was trained on or its authors ask, else"


def prompt_option(what: str, usual: str) -> Any:
    """`--prompt` of a command that asks a teacher for something."""
    return typer.Option(
        "--prompt",
        metavar="NAME",
        help=f"The prompt by which a teacher is asked for a {what}: its name, or a YAML file with "
        "a question of your own.",
        show_default=f"{TRAINED} {usual}",
    )


OwnPrompt = Annotated[str | None, prompt_option("score", "visualquality-r1/score")]
OwnSamples = Annotated[
    int | None,
    typer.Option(
        "--samples",
        min=1,
        help="Texts of a teacher per picture; their mean is the score.",
        show_default=f"{_AUTHORS} 5",
    ),
]
OwnTemperature = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        min=0,
        help="A teacher's sampling temperature; 0 takes the likeliest text.",
        show_default=f"{_AUTHORS} 1",
    ),
]
SuiteTemperature = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        min=0,
        help="A teacher's sampling temperature; 0 takes the likeliest text.",
        show_default=f"{_AUTHORS} 1, for the suite degradation 0",
    ),
]
Likeliest = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        min=0,
        help="A teacher's sampling temperature; 0 takes the likeliest text.",
        show_default=f"{_AUTHORS} 0",
    ),
]
TopP = Annotated[
    float | None,
    typer.Option(
        "--top-p",
        min=0,
        max=1,
        help="Draw only from the likeliest tokens that together have this share.",
        show_default=f"{_AUTHORS} 1",
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        "--top-k",
        min=0,
        help="Draw only from so many of the likeliest tokens; 0 takes all.",
        show_default=f"{_AUTHORS} 0",
    ),
]
OwnMaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        min=1,
        help="A teacher's longest text, in tokens.",
        show_default=f"{_AUTHORS} 512",
    ),
]
EngineSet = Annotated[
    list[str] | None,
    typer.Option(
        "--engine-set",
        metavar="NAME=VALUE",
        help="A setting of the engine: revision=v1 of a Hub model, for vLLM also "
        "tensor_parallel_size=4, for transformers quantization=4bit, for a server timeout=60 or "
        "price_in=0.2; repeat for more.",
        show_default="none",
    ),
]
BatchSize = Annotated[
    int, typer.Option(min=1, help="Texts generated, or asked of a server, side by side.")
]
Pictures = Annotated[
    list[Path], typer.Argument(metavar="PICTURES", help="Pictures, folders or manifests.")
]
Samples = Annotated[int, typer.Option(min=1, help="Texts per picture; their mean is the score.")]
CsvOutput = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        dir_okay=False,
        help="CSV file to write instead of the screen. Until it is whole the teacher's texts are "
        "kept beside it, and a stopped command resumes.",
        show_default=False,
    ),
]

DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="With --engine openai: print one request's body without its picture, where it would "
        "go, and how many there would be, and stop. Nothing is sent.",
    ),
]


def engine_of(
    engine: str,
    model: str,
    batch_size: int,
    max_pixels: int | None,
    min_pixels: int | None = None,
    engine_set: list[str] | None = None,
    base_url: str | None = None,
) -> Engine:
    """The engine that a command's options name."""
    from rali.runs.config import with_overrides
    from rali.teacher.engines import load_engine

    address = {} if base_url is None else {"base_url": base_url}
    return load_engine(
        engine,
        model,
        batch_size=batch_size,
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        options=with_overrides({}, engine_set or []) | address,
    )


def server_config(engine_set: list[str] | None, base_url: str | None) -> ServerConfig:
    """How a server is asked, as the options say."""
    from rali.runs.config import from_dict, with_overrides
    from rali.teacher.server import ServerConfig

    address = {} if base_url is None else {"base_url": base_url}
    return from_dict(ServerConfig, with_overrides({}, engine_set or []) | address)


def show_requests(
    engine: str,
    model: str,
    requests: Sequence[Request],
    sampling: Sampling,
    max_pixels: int | None,
    min_pixels: int | None = None,
    engine_set: list[str] | None = None,
    base_url: str | None = None,
) -> NoReturn:
    """Print what `--dry-run` promises, and exit."""
    from rali.teacher.openai_engine import preview

    if engine != "openai":
        raise InputError("--dry-run says what a server would be sent; add --engine openai.")
    if not requests:
        typer.echo("Nothing is missing; no request would be made.")
        raise typer.Exit()
    config = server_config(engine_set, base_url)
    text = preview(model, requests, sampling, config, min_pixels=min_pixels, max_pixels=max_pixels)
    typer.echo(text)
    raise typer.Exit()


def transformers_engine(model: str, max_pixels: int | None = None) -> TransformersEngine:
    """An engine whose model can be looked into; the others do not allow it."""
    from rali.teacher.engines import TransformersEngine, load_engine

    engine = load_engine("transformers", model, max_pixels=max_pixels)
    assert isinstance(engine, TransformersEngine)
    return engine


def find_rows(paths: list[Path]) -> list[Row]:
    """The pictures that paths and manifests name, with the scores that manifests give."""
    from rali.data.manifest import Row, read_manifest
    from rali.data.webdataset import is_archive
    from rali.pictures.read import find_pictures

    found: list[Row] = []
    for path in paths:
        if path.suffix.lower() in (".csv", ".parquet") or is_archive(path):
            found += read_manifest(path)
        else:
            found += [Row(picture) for picture in find_pictures([path])]
    if not found:
        raise InputError(f"There are no pictures in {', '.join(map(str, paths))}.")
    return found
