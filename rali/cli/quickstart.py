"""`rali quickstart`: the whole pipeline in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def quickstart(
    pictures: Annotated[
        list[Path] | None, typer.Argument(help="Your own pictures, scored at the end.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/quickstart"),
) -> None:
    """Degrade photographs, train a teacher on them, harvest, distil, export, evaluate, report.

    Teacher and student are nano; it takes some six minutes on two cores. Ctrl-C and
    the same command again goes on.

    Example: rali quickstart holiday.jpg
    """
    from rich.console import Console
    from rich.table import Table

    from rali.runs.folder import alone_in
    from rali.runs.progress import StageProgress

    from ._quickstart import quickstart as run

    with alone_in(out), StageProgress() as progress:
        summary = run(out, pictures or [], report=progress)
    console = Console()
    table = Table(title=f"{summary['held_out_photographs']} photographs never seen in training")
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_row("SRCC", f"{summary['srcc']:.3f}")
    table.add_row("PLCC", f"{summary['plcc']:.3f}")
    table.add_row("ONNX against torch, largest difference", f"{summary['onnx_max_difference']:.1e}")
    table.add_row(
        "the teacher's texts that made no sense", f"{summary['rationales_not_parsed']:.1%}"
    )
    for stage, seconds in summary["stages"].items():
        table.add_row(stage, f"{seconds:.1f} s")
    table.add_row("all", f"{summary['seconds']:.0f} s")
    console.print(table)
    for picture in summary["pictures"]:
        said = picture["error"] or f"{picture['score']:.2f}"
        typer.echo(f"{picture['image']}: {said}")
    typer.echo(f"report: {(out / 'report.html').resolve()}")
