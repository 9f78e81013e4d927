"""SIGTERM and SIGHUP end a command as Ctrl-C does: what is done is kept, one sentence is said."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

CTRL_C = 128 + signal.SIGINT


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
        raise KeyboardInterrupt

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
