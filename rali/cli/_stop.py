"""SIGTERM and SIGHUP end a command as Ctrl-C does, and never in the middle of a row."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end; `code` is the exit code that shells expect of it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


class Stop:
    """Whether a signal may interrupt now; used as a context manager, it waits for the block."""

    def __init__(self) -> None:
        self._held, self._waiting = False, 0

    def __enter__(self) -> None:
        self._held = True

    def __exit__(self, *error: object) -> None:
        self._held = False
        if self._waiting:
            number, self._waiting = self._waiting, 0
            raise Stopped(number)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self._held:
            self._waiting = number
        else:
            raise Stopped(number)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Raise `Stopped` on SIGINT, SIGTERM and SIGHUP in a block, but not while the `Stop` is held.

    A signal that is ignored, as under nohup, stays so.
    """
    stop, before = Stop(), {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, stop._asked)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
