"""`rali quickstart`: the whole pipeline in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def quickstart(
    pictures: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PICTURE", help="Your own pictures; they are scored at the end."),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="The run folder to write."),
    ] = Path("runs/quickstart"),
) -> None:
    """Run the whole pipeline once: from photographs to a scorer and a report.

    It degrades photographs, trains a teacher on them, harvests its rationales, distils a student,
    exports and evaluates it. Teacher and student are nano. It takes about six minutes on two
    cores; after Ctrl-C the same command resumes it.

    Example: rali quickstart holiday.jpg
    """
    from rich.console import Console
    from rich.table import Table

    from rali.runs.folder import alone_in
    from rali.runs.progress import StageProgress

    from ._quickstart import quickstart as run

    with alone_in(output), StageProgress() as progress:
        summary = run(output, pictures or [], progress=progress)
    console = Console()
    table = Table(title=f"{summary['held_out_photographs']} photographs never seen in training")
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_row("SRCC", f"{summary['srcc']:.3f}")
    table.add_row("PLCC", f"{summary['plcc']:.3f}")
    table.add_row("ONNX against torch, largest difference", f"{summary['onnx_max_difference']:.1e}")
    table.add_row(
        "teacher's texts that could not be parsed", f"{summary['rationales_not_parsed']:.1%}"
    )
    for stage, seconds in summary["stages"].items():
        table.add_row(stage, f"{seconds:.1f} s")
    table.add_row("all", f"{summary['seconds']:.0f} s")
    console.print(table)
    for picture in summary["pictures"]:
        score = picture["error"] or f"{picture['score']:.2f}"
        typer.echo(f"{picture['image']}: {score}")
    typer.echo(f"report: {(output / 'report.html').resolve()}")
