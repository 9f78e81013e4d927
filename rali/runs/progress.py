"""Progress with stage names and time left, on standard error: bars, or plain lines in a log.

Whatever takes long is given one callable, `Progress`, and does not know who listens.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.progress import TaskID


class Progress(Protocol):
    """Called after each step with the stage's name, the steps done and all steps.

    `loss` is the number that a stage makes smaller (or a reward that it makes larger); None where
    a stage has none.
    """

    def __call__(self, stage: str, done: int, total: int, loss: float | None = None) -> None: ...


def silent(stage: str, done: int, total: int, loss: float | None = None) -> None:
    """The `Progress` of a caller who does not listen."""


def renamed(progress: Progress, stage: str) -> Progress:
    """A `Progress` that tells every step under one stage's name."""
    return lambda _, done, total, loss=None: progress(stage, done, total, loss)


class StageProgress:
    """A `Progress` that draws one line per stage.

    Without a terminal it prints a plain line when a stage starts and one a minute from then on,
    so that a log shows whether a long run is alive.

    Args:
        value: what the number beside a step is called.
        resumes: whether work that is stopped can be resumed by the same command.
    """

    def __init__(self, value: str = "loss", *, resumes: bool = True) -> None:
        from rich import progress as bars  # here, as it costs each command's start 50 ms
        from rich.console import Console

        self.value, self.resumes = value, resumes
        self.console = Console(stderr=True)
        self._bars = bars.Progress(
            bars.TextColumn("{task.description:<22}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeElapsedColumn(),
            bars.TimeRemainingColumn(),
            bars.TextColumn("{task.fields[note]}"),
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
        if isinstance(error, KeyboardInterrupt):
            more = "; the same command resumes it" if self.resumes else ""
            self.console.print(f"rali: stopped{more}.")
            error.add_note("stopped")  # nobody needs to say it again

    def __call__(self, stage: str, done: int, total: int, loss: float | None = None) -> None:
        new = stage not in self._tasks
        if new:
            self._tasks[stage] = self._bars.add_task(stage, total=total, note="")
        note = "" if loss is None else f"{self.value} {loss:.3f}"
        self._bars.update(self._tasks[stage], completed=done, total=total, note=note)
        if not self.console.is_terminal and (new or time.monotonic() - self._printed > 60):
            left = self._bars.tasks[self._tasks[stage]].time_remaining
            more = "" if left is None else f", {left / 60:.0f} min left"
            line = f"rali: {stage}" + (" …" if new else f" {done}/{total} {note}{more}")
            self.console.print(line, highlight=False)
            self._printed = time.monotonic()
