"""`rali sweep`: an ablation or a sweep from one file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rali.errors import InputError
from rali.recipes import find_recipe

if TYPE_CHECKING:
    from rali.evaluation.sweep import Job


def sweep(
    config: Annotated[
        Path,
        typer.Argument(
            parser=find_recipe,
            metavar="NAME|FILE",
            help="A sweep: the name of one that `rali recipes` lists, or a YAML file.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="The folder for runs, table and plot."),
    ],
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="The folder that {data} stands for in the file.",
            show_default="the current folder",
        ),
    ] = Path(),
    runs: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The folder of the runs that cases share; sweeps with the same folder share them "
            "too.",
            show_default="runs/ in the output folder",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="How many cases run side by side.")] = 1,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CASE", help="Run only this case; repeat for more.", show_default="all"
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the commands, name the files that are missing, and stop."
        ),
    ] = False,
) -> None:
    """Run an ablation or a sweep: every case with every seed, then a table and a plot.

    Each case is a few commands of rali. The same command resumes a sweep that was stopped.

    Example: rali sweep rali-table4 --data DATA -o runs/table4 --jobs 2
    """
    from rali.evaluation.sweep import jobs_of, read_sweep, run_sweep
    from rali.evaluation.sweep_text import write_results
    from rali.runs.folder import alone_in
    from rali.runs.progress import StageProgress

    settings, data = read_sweep(config), data.resolve()
    every = jobs_of(settings, output, data, runs)
    unknown = sorted(set(only or ()) - set(settings.cases))
    if unknown:
        raise InputError(f"There is no case {unknown[0]!r}; there are {', '.join(settings.cases)}.")
    chosen = [job for job in every if not only or job.case in only]
    if dry_run:
        _show(chosen)
        return
    with alone_in(output), StageProgress() as progress:
        run_sweep(chosen, jobs, progress=progress)
    typer.echo(write_results(settings, every, output))
    typer.echo(f"{output / 'sweep.csv'}, {output / 'sweep.md'}, {output / 'sweep.png'}")


def _show(jobs: list[Job]) -> None:
    """Print the jobs' commands.

    Raises:
        InputError: files that they read are missing.
    """
    from rali.evaluation.sweep import missing_files

    for job in jobs:
        typer.echo(f"# {job.case}, seed {job.seed}")
        for words in job.commands:
            typer.echo(f"rali {shlex.join(words)}")
    missing = missing_files(jobs)
    if missing:
        cases = {job.case for job in jobs}
        lines = [
            f"  {path}" + ("" if cases == set(own) else f" ({', '.join(own)})")
            for path, own in missing.items()
        ]
        raise InputError(
            "The sweep needs files that are not there. Make them, or give another --data:\n"
            + "\n".join(lines)
        )
