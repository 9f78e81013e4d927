"""`rali score`: pictures and folders in, one row per picture out (image, score, error)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rali.errors import InputError
from rali.scoring.model_folder import is_head

from ._model import SCORER_HELP, Column, Precision, Provider, Recursive, Threads

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
            "(https://…, s3://…), @list.txt, and - for a list on standard input. For a head, a "
            ".parquet of embeddings or a folder of them.",
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
    recursive: Recursive = False,
    column: Column = None,
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
    xmp: Annotated[
        bool,
        typer.Option(
            "--xmp",
            help="Write an XMP sidecar beside each picture: stars for photo managers and the "
            "score; with --interval also low and high, with --explain keywords such as "
            "quality|blur. What else a sidecar holds stays, and so do stars that rali did not "
            "give.",
        ),
    ] = False,
    xmp_name: Annotated[
        Literal["full", "adobe"] | None,
        typer.Option(
            help="How --xmp names them: photo.jpg.xmp (darktable, digiKam, immich, PhotoPrism), "
            "or photo.xmp (Adobe).",
            show_default="full",
        ),
    ] = None,
    stars: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C,D",
            help="The scores at which two, three, four and five stars begin.",
            show_default="the fifths of people's scores",
        ),
    ] = None,
    undo: Annotated[
        bool,
        typer.Option(
            "--undo",
            help="With --xmp, score nothing, and make sidecars what they were before rali; one "
            "that was edited since stays as it is.",
        ),
    ] = False,
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
    retry: Annotated[
        bool,
        typer.Option(
            "--retry", help="Score again what --output says could not be scored; its row goes."
        ),
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
            show_default="one per core of this machine, or as many as RAY_ADDRESS has room for",
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
    from rali.scoring.scorer import Scorer

    if workers and engine != "ray":
        raise InputError("--workers is for --engine ray.")
    from ._local import refuse_address
    from ._score import Job, leave_quietly, run
    from ._xmp import Xmp, read_stars, undo_sidecars

    if embeddings:
        refuse_address(embeddings)
    if not xmp and (xmp_name or stars or undo):
        raise InputError("--xmp-name, --stars and --undo are for --xmp: give it too.")
    entries: Callable[[], Any] = partial(find_entries, sources, recursive=recursive, column=column)
    if undo:
        if output or report or maps:
            raise InputError("--undo scores nothing: leave --output, --report and --map out.")
        if code := undo_sidecars(entries()):
            raise typer.Exit(code)
        return
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
        retry=retry,
        xmp=Xmp(xmp_name == "adobe", read_stars(stars) if stars else None) if xmp else None,
        ray=engine == "ray",
        workers=workers,
        provider=None if provider == "CPUExecutionProvider" else provider,
    )
    scorer: Callable[[], Any] = partial(
        Scorer,
        model,
        precision=precision,
        batch_size=batch_size,
        providers=[provider] if provider else None,
        threads=threads,
        max_pixels=round(max_megapixels * 1e6),
    )
    if is_head(model):
        from ._head import open_vectors

        for_pictures = {
            "--recursive": recursive, "--explain": explain, "--map": maps, "--report": report,
            "--xmp": xmp, "--precision": precision != "fp32", "--batch-size": batch_size,
            "--provider": provider, "--threads": threads, "--copy-to": copy_to,
            "--move-to": move_to, "--embeddings": embeddings, "--engine ray": engine == "ray",
            "--max-megapixels": max_megapixels != MAX_MEGAPIXELS,
        }  # fmt: skip
        vectors, head = open_vectors(model, sources, column, for_pictures)
        entries, scorer = (lambda: vectors), (lambda: head)
    try:
        code = run(job, entries, scorer)
    except BrokenPipeError:
        code = leave_quietly()
    if code:
        raise typer.Exit(code)
