"""The arguments of commands that read pictures with human scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Manifests = Annotated[
    list[Path],
    typer.Argument(metavar="MANIFEST...", help="CSV or Parquet manifests of labelled pictures."),
]
Split = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Use only rows of this split: train, val or test.", show_default="all"
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, metavar="N", help="Pictures per forward pass.")]
