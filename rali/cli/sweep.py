"""`rali sweep`: an ablation or a sweep from one file."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from rali.errors import InputError


def sweep(
    config: Annotated[Path, typer.Argument(metavar="FILE", help="A sweep's YAML file.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of runs and table.")
    ],
    data: Annotated[Path, typer.Option(help="What {data} stands for in the file.")] = Path(),
    runs: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the runs that cases share; sweeps with the same one share them too.",
            show_default="in the sweep's",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Cases side by side.")] = 1,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Run only this case; repeat for more.", show_default="all"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the commands and stop.")
    ] = False,
) -> None:
    """Run an ablation or a sweep: every case and seed, then a table and a plot.

    The same command started again goes on where it was stopped.

    Example: rali sweep recipes/sweeps/rali-table4.yaml --data DATA -o runs/table4 --jobs 2
    """
    from rali.evaluation.sweep import jobs_of, read_sweep, run_sweep, write_results
    from rali.runs.folder import alone_in
    from rali.runs.progress import StageProgress

    settings = read_sweep(config)
    found = jobs_of(settings, output, data.resolve(), runs)
    if only:
        unknown = sorted(set(only) - set(settings.cases))
        if unknown:
            raise InputError(
                f"There is no case {unknown[0]!r}; there are {', '.join(settings.cases)}."
            )
    chosen = [job for job in found if not only or job.case in only]
    if dry_run:
        for job in chosen:
            typer.echo(f"# {job.case}, seed {job.seed}")
            for words in job.commands:
                typer.echo(f"rali {' '.join(words)}")
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # not without the cases' processes
    with alone_in(output), StageProgress() as progress:
        run_sweep(chosen, jobs, lambda done, count, job: progress("cases", done, count))
    typer.echo(write_results(settings, found, output))
    typer.echo(f"{output / 'sweep.csv'}, {output / 'sweep.md'}, {output / 'sweep.png'}")
