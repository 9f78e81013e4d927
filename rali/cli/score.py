"""`rali score`: pictures and folders in, one row per picture out (image, score, error)."""

from __future__ import annotations

import json
import os
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rali.cli._bar import scoring_bar
from rali.cli._output import check_writable, csv_text
from rali.errors import InputError, require
from rali.files import replace_atomically

COLUMNS = ("image", "score", "error")


class Format(StrEnum):
    """How the rows are written."""

    table = "table"
    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


def score(
    paths: Annotated[
        list[Path], typer.Argument(help="Pictures and folders of pictures.", show_default=False)
    ],
    model: Annotated[
        str,
        typer.Option("--model", "-m", help="builtin, a model folder, an .onnx file or a hub id."),
    ] = "builtin",
    format: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="Default: by --output's suffix, else table."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", dir_okay=False, help="File to write instead of the screen."),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Also look into the folders' folders.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per run of the model.")] = 8,
) -> None:
    """Score the quality of pictures from 1 (bad) to 5 (excellent).

    Example: rali score photos/ --recursive --output scores.csv

    The exit code is 1 if any picture could not be scored; its row says why.
    """
    # Decoders warn about oddities that do not change the picture, in the middle of the bar.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    chosen = _format(format, output)
    check_writable(output)
    if chosen is Format.parquet:
        require("pyarrow", "data")

    from rali.pictures import find_pictures
    from rali.scorer import Scorer

    pictures = find_pictures(paths, recursive)
    if not pictures:
        hint = "" if recursive else " (--recursive also looks into their folders)"
        raise InputError(f"There are no pictures in {', '.join(map(str, paths))}{hint}.")
    scorer = Scorer(model, batch_size=batch_size)
    rows: list[Row] = []
    try:
        with scoring_bar() as progress:
            for result in scorer.score_many(pictures):
                number = None if result.score is None else round(result.score, 6)
                # Names that are not valid UTF-8 must not stop the report.
                name = os.fsencode(result.source).decode("utf-8", "replace")
                rows.append((name, number, result.error))
                progress(len(rows), len(pictures))
    except KeyboardInterrupt:
        _write(rows, chosen, output)
        typer.echo(f"rali: stopped after {len(rows)} of {len(pictures)} pictures.", err=True)
        raise typer.Exit(130) from None
    _write(rows, chosen, output)
    if any(error for _, _, error in rows):
        raise typer.Exit(1)


Row = tuple[str, float | None, str | None]


def _format(given: Format | None, output: Path | None) -> Format:
    if given is None:
        suffix = output.suffix.lower().lstrip(".") if output else ""
        return Format(suffix) if suffix in ("csv", "jsonl", "parquet") else Format.table
    if given is Format.parquet and output is None:
        raise InputError("Parquet is binary and needs a file: add --output scores.parquet")
    return given


def _write(rows: list[Row], chosen: Format, output: Path | None) -> None:
    if output is not None:

        def write(path: Path) -> None:
            if chosen is Format.parquet:
                _write_parquet(rows, path)
            else:
                path.write_text(_text(rows, chosen), encoding="utf-8", newline="")

        replace_atomically(output, write)
    elif chosen is Format.table and sys.stdout.isatty():
        _show_table(rows)
    else:
        sys.stdout.write(_text(rows, chosen))


def _text(rows: list[Row], chosen: Format) -> str:
    if chosen is Format.jsonl:
        lines = (
            json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) for row in rows
        )
        return "".join(line + "\n" for line in lines)
    if chosen is Format.csv:
        return csv_text(COLUMNS, rows)
    cells = [COLUMNS, *((name, _digits(number), error or "") for name, number, error in rows)]
    width = max(len(row[0]) for row in cells)
    return "".join(f"{a:<{width}}  {b:>5}  {c}".rstrip() + "\n" for a, b, c in cells)


def _digits(number: float | None) -> str:
    return "" if number is None else f"{number:.3f}"


def _show_table(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    table.add_column("image", overflow="fold")
    table.add_column("score", justify="right", no_wrap=True)
    if any(error for _, _, error in rows):
        table.add_column("error", overflow="fold", style="red")
    for name, number, error in rows:
        cells = (Text(name), _digits(number), Text(error or ""))
        table.add_row(*cells[: len(table.columns)])
    Console().print(table)


def _write_parquet(rows: list[Row], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    types = (pa.string(), pa.float64(), pa.string())
    columns = zip(*rows, strict=True)
    arrays = [pa.array(list(c), t) for c, t in zip(columns, types, strict=True)]
    parquet.write_table(pa.table(dict(zip(COLUMNS, arrays, strict=True))), path)
