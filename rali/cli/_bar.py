"""The progress bar of commands that work picture by picture; it disappears at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rali.runs.progress import Progress, silent


@contextmanager
def scoring_bar() -> Iterator[Progress]:
    """A `Progress` that draws on standard error if that is a terminal, and is silent if not."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def draw(stage: str, done: int, total: int, loss: float | None = None) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        yield draw
