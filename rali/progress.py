"""Progress with stage names and time left, on standard error: bars, or plain lines in a log."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class StageProgress:
    """One line per stage; call it with (stage, step, steps, loss).

    Without a terminal it prints a plain line when a stage starts and one a minute from then on,
    so that a log shows whether a long run is alive.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._bars = Progress(
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
            self.console.print("rali: stopped; the same command goes on from here.")

    def __call__(self, stage: str, step: int, steps: int, loss: float | None = None) -> None:
        new = stage not in self._tasks
        if new:
            self._tasks[stage] = self._bars.add_task(stage, total=steps, note="")
        note = "" if loss is None else f"loss {loss:.3f}"
        self._bars.update(self._tasks[stage], completed=step, total=steps, note=note)
        if not self.console.is_terminal and (new or time.monotonic() - self._printed > 60):
            left = self._bars.tasks[self._tasks[stage]].time_remaining
            more = "" if left is None else f", {left / 60:.0f} min left"
            line = f"rali: {stage}" + (" …" if new else f" {step}/{steps} {note}{more}")
            self.console.print(line, highlight=False)
            self._printed = time.monotonic()
