"""The bar that `rali score` and `rali evaluate` share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def scoring_bar() -> Iterator[Callable[[int, int], None]]:
    """Call it with (pictures done, pictures); on standard error, where a person looks at it."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("Scoring", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Scoring", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
