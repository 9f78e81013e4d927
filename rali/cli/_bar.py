"""Progress of commands that work picture by picture: a bar that disappears, or lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rali.runs.progress import Progress

EVERY = 30.0  # seconds between lines


@contextmanager
def scoring_bar() -> Iterator[Progress]:
    """A `Progress` on standard error: a bar on a terminal, else a line every half a minute.

    A total of 0 means that it is not known.
    """
    if not sys.stderr.isatty():
        yield _lines()
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
            bar.update(task, description=stage, completed=done, total=total or None)

        yield draw


def _lines() -> Progress:
    started = last = time.monotonic()
    first: int | None = None

    def say(stage: str, done: int, total: int, loss: float | None = None) -> None:
        nonlocal last, first
        now = time.monotonic()
        if first is None:
            first = done - 1
        if now - last < EVERY:
            return
        last, speed = now, (done - first) / (now - started)
        left = f" of {total:,}, {(total - done) / speed / 60:.0f} min left" if total else ""
        print(f"rali: {stage} {done:,}{left}, {speed:.1f} a second", file=sys.stderr, flush=True)

    return say
