"""`rali licenses`: what is inside, where it comes from, under which terms."""

from __future__ import annotations

from typing import Annotated

import typer

from rali.errors import printable


def licenses(
    model: Annotated[
        str,
        typer.Argument(
            help="`builtin` for everything in the package; a model folder, a file or folder that "
            "`rali export` wrote, or a Hub id."
        ),
    ] = "builtin",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list, for machines.")
    ] = False,
) -> None:
    """List each file with weights: what it is, its licence, its origin and its SHA-256.

    Example: rali licenses page/ --json
    """
    import dataclasses
    import json

    from rali.scoring.licenses import model_parts

    parts = model_parts(model)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(part) for part in parts], indent=2))
        return
    for part in parts:
        for line in part.words().splitlines():
            typer.echo(printable(line))
