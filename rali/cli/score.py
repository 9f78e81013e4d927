"""`rali score`: pictures and folders in, one row per picture out (image, score, error)."""

from __future__ import annotations

import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from rali.errors import InputError

from ._model import SCORER_HELP, Precision, Provider, Threads

MAX_MEGAPIXELS = 178.95697  # as in Python


class Format(StrEnum):
    """How the rows are written."""

    table = "table"
    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


class Order(StrEnum):
    """How rows are sorted."""

    best = "best"
    worst = "worst"
    path = "path"


def score(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Pictures, folders, patterns, tables (.csv, .jsonl, .parquet), archives (.zip, "
            ".tar, .tar.gz), data sets (a saved folder, hf://datasets/OWNER/NAME), addresses "
            "(https://…, s3://…), @list.txt, and - for a list on standard input.",
            show_default=False,
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
            help="Write to this file (.csv, .jsonl, .parquet, .txt) instead of the screen. A name "
            "without a suffix is a folder of Parquet shards.",
            show_default="the screen",
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Look into folders inside folders too.")
    ] = False,
    column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The column of a table or data set that names or holds the pictures.",
            show_default="image, file_name, path or url",
        ),
    ] = None,
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
            metavar="FILE.html",
            dir_okay=False,
            help="Also write a page of thumbnails that a browser sorts and filters. It shows what "
            "--interval, --explain and --map add.",
            show_default="no page",
        ),
    ] = None,
    precision: Precision = "fp32",
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
    where: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITION",
            help="Only rows that meet it, such as 'score < 2.5' or 'not error and \"beach\" in "
            "image'.",
            show_default="all rows",
        ),
    ] = None,
    sort: Annotated[
        Order | None,
        typer.Option(
            metavar="ORDER",
            help=f"Sort the rows: {', '.join(Order)}.",
            show_default="as they come",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Only the first N rows; without --sort, the best.",
            show_default="all rows",
        ),
    ] = None,
    copy_to: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            file_okay=False,
            help="Copy the pictures of the rows that are shown into this folder.",
            show_default="no copies",
        ),
    ] = None,
    move_to: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            file_okay=False,
            help="Move them there; its .rali.jsonl says where each was.",
            show_default="no moves",
        ),
    ] = None,
    embeddings: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write each picture's vector too: to this .npy file, one row each; or with the "
            "word `column` into JSON lines or Parquet.",
            show_default="no vectors",
        ),
    ] = None,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Begin --output again, whatever it holds."),
    ] = False,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Where pictures are scored: in this process, or by Ray's workers."),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="With --engine ray, at most this many workers, with --threads cores each (1).",
            show_default="one per core",
        ),
    ] = None,
) -> None:
    """Score the quality of pictures from 1 (bad) to 5 (excellent).

    Rows are written as they come, and the same command resumes what was stopped. The exit code
    is 1 if any picture could not be scored; its row says why.

    Example: rali score photos/ --recursive --output scores.csv
    """
    # Decoders warn about oddities that do not change the picture, in the middle of the bar.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    from rali.pictures.sources import find_entries
    from rali.scoring.scorer import Scorer, available_cores

    if workers and engine != "ray":
        raise InputError("--workers is for --engine ray.")
    from ._score import Job, leave_quietly, run

    job = Job(
        output=output,
        form=format,
        interval=interval,
        explain=explain,
        embeddings=embeddings,
        maps=maps,
        report=report,
        where=where,
        sort=sort,
        top=top,
        copy_to=copy_to,
        move_to=move_to,
        restart=restart,
        workers=(workers or available_cores()) if engine == "ray" else 0,
    )
    try:
        code = run(
            job,
            lambda: find_entries(sources, recursive=recursive, column=column),
            lambda: Scorer(
                model,
                precision=precision,
                batch_size=batch_size,
                providers=[provider] if provider else None,
                threads=threads,
                max_pixels=round(max_megapixels * 1e6),
            ),
        )
    except BrokenPipeError:
        code = leave_quietly()
    if code:
        raise typer.Exit(code)
