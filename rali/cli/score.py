"""`rali score`: pictures and folders in, one row per picture out (image, score, error)."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rali.errors import InputError, RaliError, require
from rali.files import replace_atomically

from ._bar import scoring_bar
from ._output import check_writable, csv_text

if TYPE_CHECKING:
    from rali.scoring.scorer import Scorer

COLUMNS = ("image", "score", "error")
TEXTS = ("image", "why", "error")  # columns of text; the others hold numbers


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
    interval: Annotated[
        float | None,
        typer.Option(
            help="Also say between which scores people's lies with this probability, as 0.9.",
            show_default="none",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also say why: the three likeliest phrases.")
    ] = False,
    maps: Annotated[
        Path | None,
        typer.Option(
            "--map",
            file_okay=False,
            help="Folder to draw maps into that show where a picture is good and where bad.",
            show_default="none",
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Which of the model's files: fp32, fp16, int8 or int8-dynamic.")
    ] = "fp32",
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Pictures per run of the model.", show_default="1; 8 on a GPU"),
    ] = None,
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

    from rali.pictures.read import find_pictures
    from rali.scoring.scorer import Scorer

    pictures = find_pictures(paths, recursive)
    if not pictures:
        hint = "" if recursive else " (--recursive also looks into their folders)"
        raise InputError(f"There are no pictures in {', '.join(map(str, paths))}{hint}.")
    scorer = Scorer(model, precision=precision, batch_size=batch_size)
    bounds = _bounds(model, interval)
    more = (() if bounds is None else ("low", "high")) + (("why",) if explain else ())
    columns = (*COLUMNS[:2], *more, COLUMNS[2])
    draw = None if maps is None else _drawing(scorer, maps)
    results = (
        scorer.explain_many(pictures)
        if explain
        else ((result, []) for result in scorer.score_many(pictures))
    )
    rows: list[Row] = []
    try:
        with scoring_bar() as progress:
            for result, reasons in results:
                number = None if result.score is None else round(result.score, 6)
                # Names that are not valid UTF-8 must not stop the report.
                name = os.fsencode(result.source).decode("utf-8", "replace")
                between = () if bounds is None else bounds(number)
                why = ("; ".join(f"{r.meaning} {r.probability:.0%} ({r.phrase})" for r in reasons),)
                rows.append((name, number, *between, *(why if explain else ()), result.error))
                if draw and number is not None:
                    draw(result.source)
                progress(len(rows), len(pictures))
    except KeyboardInterrupt:
        _write(columns, rows, chosen, output)
        typer.echo(f"rali: stopped after {len(rows)} of {len(pictures)} pictures.", err=True)
        raise typer.Exit(130) from None
    except (RaliError, OSError):  # of a map, as when the disk is full: the scores are not lost
        if rows:
            _write(columns, rows, chosen, output)
        raise
    _write(columns, rows, chosen, output)
    if any(row[-1] for row in rows):
        raise typer.Exit(1)


Row = tuple[str | float | None, ...]  # as the columns say


def _bounds(
    model: str, level: float | None
) -> Callable[[float | None], tuple[float | None, float | None]] | None:
    """Score → lowest and highest human score, or None where no interval is wanted."""
    if level is None:
        return None
    from rali.scoring.intervals import read_interval

    found = read_interval(model)
    found.radius(level)  # what is wrong is said before the first picture

    def around(score: float | None) -> tuple[float | None, float | None]:
        if score is None:
            return None, None
        low, high = found.around(score, level)
        return round(low, 6), round(high, 6)

    return around


def _drawing(scorer: Scorer, folder: Path) -> Callable[[Path], None]:
    """What draws a picture's map into the folder, as PNG under the picture's name."""
    folder.mkdir(parents=True, exist_ok=True)
    used: set[str] = set()

    def draw(picture: Path) -> None:
        name, count = picture.stem, 1
        while name in used:
            count += 1
            name = f"{picture.stem}-{count}"
        used.add(name)
        overlay = scorer.map(picture).overlay()
        replace_atomically(folder / f"{name}.png", lambda path: overlay.save(path, "PNG"))

    return draw


def _format(given: Format | None, output: Path | None) -> Format:
    if given is None:
        suffix = output.suffix.lower().lstrip(".") if output else ""
        return Format(suffix) if suffix in ("csv", "jsonl", "parquet") else Format.table
    if given is Format.parquet and output is None:
        raise InputError("Parquet is binary and needs a file: add --output scores.parquet")
    return given


def _write(columns: tuple[str, ...], rows: list[Row], chosen: Format, output: Path | None) -> None:
    if output is not None:

        def write(path: Path) -> None:
            if chosen is Format.parquet:
                _write_parquet(columns, rows, path)
            else:
                path.write_text(_text(columns, rows, chosen), encoding="utf-8", newline="")

        replace_atomically(output, write)
    elif chosen is Format.table and sys.stdout.isatty():
        _show_table(columns, rows)
    else:
        sys.stdout.write(_text(columns, rows, chosen))


def _text(columns: tuple[str, ...], rows: list[Row], chosen: Format) -> str:
    if chosen is Format.jsonl:
        lines = (
            json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in rows
        )
        return "".join(line + "\n" for line in lines)
    if chosen is Format.csv:
        return csv_text(columns, rows)
    cells = [columns, *([_cell(value) for value in row] for row in rows)]
    width = max(len(row[0]) for row in cells)
    return "".join(
        "  ".join([f"{row[0]:<{width}}", *(f"{c:>5}" for c in row[1:-1]), row[-1]]).rstrip() + "\n"
        for row in cells
    )


def _cell(value: str | float | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.3f}"


def _show_table(columns: tuple[str, ...], rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    failed = any(row[-1] for row in rows)
    shown = columns if failed else columns[:-1]
    table = Table()
    for column in shown:
        if column in TEXTS:
            table.add_column(column, overflow="fold", style="red" if column == "error" else None)
        else:
            table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row[: len(shown)]))
    Console().print(table)


def _write_parquet(columns: tuple[str, ...], rows: list[Row], path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    arrays = [
        pa.array(list(values), pa.string() if column in TEXTS else pa.float64())
        for column, values in zip(columns, zip(*rows, strict=True), strict=True)
    ]
    parquet.write_table(pa.table(dict(zip(columns, arrays, strict=True))), path)
