"""SIGTERM and SIGHUP end a command as Ctrl-C does: what is done is kept, one sentence is said."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

CTRL_C = 128 + signal.SIGINT


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


@contextmanager
def ending_like_ctrl_c(say: Callable[[str], None]) -> Iterator[None]:
    """Run a command so that SIGTERM and SIGHUP raise KeyboardInterrupt in it, as Ctrl-C does.

    The exit code names the signal, as a shell's does: 128 and its number. A signal that is ignored,
    as `nohup` ignores SIGHUP, stays ignored.

    Args:
        say: says a sentence, where the command has not said its own.
    """
    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        came.append(number)
        raise Stopped(number)

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    caught = [number for name in names if _is_default(number := getattr(signal, name))]
    try:
        for number in caught:
            signal.signal(number, stop)
        yield
    except BaseException as error:
        interrupt = _interrupt_of(error)
        if interrupt is None and not came:
            raise
        if interrupt is not None and not getattr(interrupt, "__notes__", None):
            say("stopped.")
        # What else was raised came of the signal too: a process of the same group was ended by it.
        sys.exit(128 + came[0] if came else CTRL_C)
    finally:
        for number in caught:
            signal.signal(number, signal.SIG_DFL)


def _is_default(number: int) -> bool:
    return signal.getsignal(number) is signal.SIG_DFL


def _interrupt_of(error: BaseException | None) -> KeyboardInterrupt | None:
    """The KeyboardInterrupt of which an exception came, unless a command has dealt with it."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        hidden = error.__suppress_context__
        error = error.__cause__ or (None if hidden else error.__context__)
    return error
