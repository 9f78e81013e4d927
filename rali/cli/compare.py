"""`rali compare`: which picture is better, and how sure; the best of a burst."""

from __future__ import annotations

import json
import sys
import warnings
from enum import StrEnum
from typing import Annotated, Any

import typer

from rali.errors import InputError, printable

from ._model import SCORER_HELP, Column, Precision, Provider, Recursive, Threads
from ._output import csv_text

COLUMNS = ("rank", "image", "score", "beats_next", "beats_best", "error")
TOO_CLOSE = 3  # exit code


class Format(StrEnum):
    """How the ranking is written."""

    table = "table"
    csv = "csv"
    jsonl = "jsonl"


def compare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Two or more pictures, or what holds them, as for `rali score`: folders, "
            "patterns, tables, archives, data sets, addresses, @list.txt, -.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help=SCORER_HELP)
    ] = "builtin",
    format: Annotated[
        Format,
        typer.Option(
            "--format", "-f", metavar="FORMAT", help=f"How it is written: {', '.join(Format)}."
        ),
    ] = Format.table,
    sure: Annotated[
        float,
        typer.Option(
            metavar="P",
            help="The best is named if it beats the second with this probability, from 0.5 to 1; "
            "else it is too close to call.",
        ),
    ] = 0.8,
    recursive: Recursive = False,
    column: Column = None,
    precision: Precision = "fp32",
    provider: Provider = None,
    threads: Threads = None,
) -> None:
    """Say which picture is better and how sure that is; rank a burst from best to worst.

    The probabilities follow from the model's calibrated errors: how likely people
    find a picture better than the next in rank (beats_next) or than the best
    (beats_best).

    The exit code is 0 if the best is clear, 3 if it is too close to call, and 1
    if any picture could not be scored; its row says why.

    Example: rali compare burst/*.jpg
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    if not 0.5 <= sure < 1:
        raise InputError(f"--sure is a probability from 0.5 to below 1, such as 0.8; got {sure:g}.")

    from rali.pictures.sources import find_entries
    from rali.scoring.compare import compare as rank
    from rali.scoring.scorer import Scorer

    entries = find_entries(sources, recursive=recursive, column=column)
    scorer = Scorer(
        model,
        precision=precision,
        providers=[provider] if provider else None,
        threads=threads,
    )
    ranked = rank(scorer, entries)
    rows = [
        (r.rank, r.source.key, *map(_rounded, (r.score, r.beats_next, r.beats_best)), r.error)
        for r in ranked
    ]
    first = ranked[0]
    clear = first.beats_next is not None and first.beats_next >= sure
    if format is Format.csv:
        sys.stdout.write(csv_text(COLUMNS, rows))
    elif format is Format.jsonl:
        for row in rows:
            line = json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False)
            sys.stdout.write(line + "\n")
    else:
        for r in ranked:
            ahead = r.beats_next
            more = "" if ahead is None else f"  better than the next: {ahead:.0%}"
            shown = "not scored" if r.score is None else f"{r.rank}. {r.score:.2f}"
            name = printable(r.source.key)
            sys.stdout.write(f"{shown}  {name}{more}{_reason(r.error)}\n")
    sys.stdout.flush()
    typer.echo(f"rali: {_verdict(rows, clear)}", err=True)
    if any(r.error for r in ranked):
        raise typer.Exit(1)
    if not clear:
        raise typer.Exit(TOO_CLOSE)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _reason(error: str | None) -> str:
    return "" if error is None else f": {printable(error)}"


def _verdict(rows: list[tuple[Any, ...]], clear: bool) -> str:
    scored = [row for row in rows if row[5] is None]
    if len(scored) < 2:
        return f"{len(scored)} of {len(rows)} pictures could be scored; a comparison needs two."
    best, second = printable(scored[0][1]), printable(scored[1][1])
    if clear:
        return f"{best} is the best: people find it better than the next with {scored[0][3]:.0%}."
    return (
        f"Too close to call between {best} and {second}: the first is better with only "
        f"{scored[0][3]:.0%}."
    )
