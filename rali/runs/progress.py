"""Progress with stage names and time left, on standard error: bars, or plain lines in a log.

Whatever takes long is given one of two callables, and does not know who listens.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import rich.progress
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Report = Callable[[str, int, int, float | None], None]
"""Called with (stage, step, steps, loss); `loss` is None where a stage has none."""

Progress = Callable[[int, int], None]
"""Called with (done, all)."""


class StageProgress:
    """One line per stage; call it with (stage, step, steps, loss).

    Without a terminal it prints a plain line when a stage starts and one a minute from then on,
    so that a log shows whether a long run is alive.

    Args:
        value: what the number beside a step is.
        resumes: whether work that is stopped can go on.
    """

    def __init__(self, value: str = "loss", *, resumes: bool = True) -> None:
        self.value, self.resumes = value, resumes
        self.console = Console(stderr=True)
        self._bars = rich.progress.Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._printed = 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()
        if kind is KeyboardInterrupt:
            more = "; the same command goes on from here" if self.resumes else ""
            self.console.print(f"rali: stopped{more}.")

    def __call__(self, stage: str, step: int, steps: int, loss: float | None = None) -> None:
        new = stage not in self._tasks
        if new:
            self._tasks[stage] = self._bars.add_task(stage, total=steps, note="")
        note = "" if loss is None else f"{self.value} {loss:.3f}"
        self._bars.update(self._tasks[stage], completed=step, total=steps, note=note)
        if not self.console.is_terminal and (new or time.monotonic() - self._printed > 60):
            left = self._bars.tasks[self._tasks[stage]].time_remaining
            more = "" if left is None else f", {left / 60:.0f} min left"
            line = f"rali: {stage}" + (" …" if new else f" {step}/{steps} {note}{more}")
            self.console.print(line, highlight=False)
            self._printed = time.monotonic()
