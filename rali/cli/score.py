"""`rali score`: pictures and folders in, one row per picture out (image, score, error)."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rali.data.tables import path_text
from rali.errors import InputError, RaliError, printable, require
from rali.files import replace_atomically
from rali.scoring.model_folder import PRECISIONS

from ._bar import scoring_bar
from ._model import SCORER_HELP, Provider, Threads
from ._output import check_output, check_writable, csv_text

if TYPE_CHECKING:
    from rali.report.contact import SheetRow
    from rali.scoring.phrases import Reason
    from rali.scoring.scorer import Scorer

COLUMNS = ("image", "score", "error")
MAX_MEGAPIXELS = 178.95697  # as in Python
TEXTS = ("image", "why", "error")  # columns that hold text; the others hold numbers


class Format(StrEnum):
    """How the rows are written."""

    table = "table"
    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


def score(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH", help="Pictures and folders of pictures.", show_default=False
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help=SCORER_HELP,
        ),
    ] = "builtin",
    format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help=f"How rows are written: {', '.join(Format)}.",
            show_default="by the suffix of --output, else table",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            dir_okay=False,
            help="Write to this file instead of the screen.",
            show_default="the screen",
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into folders inside folders too.")
    ] = False,
    interval: Annotated[
        float | None,
        typer.Option(
            metavar="LEVEL",
            help="Add the columns low and high: with this probability, such as 0.9, people's score "
            "lies between them.",
            show_default="no interval",
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Add the column why: the three likeliest phrases."),
    ] = False,
    maps: Annotated[
        Path | None,
        typer.Option(
            "--map",
            metavar="FOLDER",
            file_okay=False,
            help="Draw maps into this folder. They show where a picture is good and where it is "
            "bad.",
            show_default="no maps",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE.html",
            dir_okay=False,
            help="Also write a page of thumbnails that a browser sorts and filters. It shows what "
            "--interval, --explain and --map add.",
            show_default="no page",
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            autocompletion=lambda: list(PRECISIONS),
            help=f"Which of the model's files to use: {', '.join(PRECISIONS)}.",
        ),
    ] = "fp32",
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Pictures per run of the model.",
            show_default="1; 8 with --provider",
        ),
    ] = None,
    provider: Provider = None,
    threads: Threads = None,
    max_megapixels: Annotated[
        float,
        typer.Option(
            min=0.001,
            metavar="N",
            help="At most this many megapixels per picture; a row above it is an error.",
        ),
    ] = MAX_MEGAPIXELS,
) -> None:
    """Score the quality of pictures from 1 (bad) to 5 (excellent).

    The exit code is 1 if any picture could not be scored; its row says why.

    Example: rali score photos/ --recursive --output scores.csv
    """
    # Decoders warn about oddities that do not change the picture, in the middle of the bar.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    chosen = _format(format, output)
    check_writable(output)
    if report is not None:
        check_output(report, (".html", ".htm"))
    if chosen is Format.parquet:
        require("pyarrow", "data")

    from rali.pictures.read import find_pictures
    from rali.scoring.scorer import Scorer

    pictures = find_pictures(paths, recursive)
    if not pictures:
        hint = "" if recursive else " (--recursive also looks into their folders)"
        raise InputError(f"There are no pictures in {', '.join(map(str, paths))}{hint}.")
    scorer = Scorer(
        model,
        precision=precision,
        batch_size=batch_size,
        providers=[provider] if provider else None,
        threads=threads,
        max_pixels=round(max_megapixels * 1e6),
    )
    bounds = _bounds(scorer, interval)
    more = (() if bounds is None else ("low", "high")) + (("why",) if explain else ())
    columns = (*COLUMNS[:2], *more, COLUMNS[2])
    draw = None if maps is None else _drawing(scorer, maps)
    results = (
        scorer.explain_many(pictures)
        if explain
        else ((result, []) for result in scorer.score_many(pictures))
    )
    rows: list[Row] = []
    shown: list[SheetRow] = []  # what the page shows, if there is one
    try:
        with scoring_bar() as progress:
            for result, reasons in results:
                number = None if result.score is None else round(result.score, 6)
                name = path_text(result.source)
                between = () if bounds is None else bounds(number)
                why = ("; ".join(f"{r.phrase} ({r.probability:.0%})" for r in reasons),)
                rows.append((name, number, *between, *(why if explain else ()), result.error))
                drawn = draw(result.source) if draw and number is not None else None
                if report is not None:
                    shown.append(_on_sheet(rows[-1], columns, result.source, reasons, drawn))
                progress("score", len(rows), len(pictures))
    except KeyboardInterrupt:
        _write(columns, rows, chosen, output)
        typer.echo(f"rali: stopped after {len(rows)} of {len(pictures)} pictures.", err=True)
        raise typer.Exit(130) from None
    except (RaliError, OSError):  # a map could not be drawn (the disk is full): keep the scores
        if rows:
            _write(columns, rows, chosen, output)
        raise
    _write(columns, rows, chosen, output)
    if report is not None:
        from rali.report.contact import write_contact_sheet

        intro = f"{len(shown)} pictures, scored by {model}."
        write_contact_sheet(report, shown, intro=intro, score_range=scorer.score_range)
    if any(row[-1] for row in rows):
        raise typer.Exit(1)


Row = tuple[str | float | None, ...]  # as the columns say


def _bounds(
    scorer: Scorer, level: float | None
) -> Callable[[float | None], tuple[float | None, float | None]] | None:
    """A function from a score to the lowest and highest human score; None without a level."""
    if level is None:
        return None
    calibrated = scorer.interval
    calibrated.radius(level)  # refuses a wrong level before the first picture

    def around(score: float | None) -> tuple[float | None, float | None]:
        if score is None:
            return None, None
        low, high = calibrated.around(score, level)
        return round(low, 6), round(high, 6)

    return around


def _on_sheet(
    row: Row, columns: tuple[str, ...], picture: Path, reasons: list[Reason], drawn: Path | None
) -> SheetRow:
    """A row as the contact sheet takes it."""
    from rali.report.contact import SheetRow

    cells: dict[str, Any] = dict(zip(columns, row, strict=True))
    between = None if cells.get("low") is None else (cells["low"], cells["high"])
    phrases = [(reason.phrase, reason.probability) for reason in reasons]
    return SheetRow(
        cells["image"], picture, cells["score"], between, phrases, cells["error"], drawn
    )


def _drawing(scorer: Scorer, folder: Path) -> Callable[[Path], Path]:
    """A function that draws a picture's map into the folder, as PNG under the picture's name."""
    folder.mkdir(parents=True, exist_ok=True)
    used: set[str] = set()

    def draw(picture: Path) -> Path:
        name, count = picture.stem, 1
        while name in used:
            count += 1
            name = f"{picture.stem}-{count}"
        used.add(name)
        overlay = scorer.map(picture).overlay()
        file = folder / f"{name}.png"
        replace_atomically(file, lambda path: overlay.save(path, "PNG"))
        return file

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
        sys.stdout.flush()  # a disk that is full is told here


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
    return "" if value is None else printable(value) if isinstance(value, str) else f"{value:.3f}"


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
    with path.open("wb") as file:  # pyarrow takes no name that is not UTF-8
        parquet.write_table(pa.table(dict(zip(columns, arrays, strict=True))), file)
