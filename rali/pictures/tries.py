"""Further tries at what is read over a network, and why it failed in the end, in a sentence.

In: a function that reads. Out: what it gives, at the first, second or third try. A driver's errors
become `RemoteError`: nobody else needs to know them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from rali.errors import PictureError, RaliError, shortened

WAITS = (0.5, 2.0)  # seconds before the second try, and before the third
_LATER = {408, 425, 429, 500, 502, 503, 504}
# aiohttp's and httpx' errors, by name: both are imported by their drivers alone.
_DROPPED = {"ClientConnectionError", "ClientPayloadError", "TransportError"}
_NEVER_MET = {"ClientConnectorError"}  # no such host, or nobody listens there

T = TypeVar("T")


class RemoteError(PictureError, OSError):
    """What lies at an address cannot be read, at no try; `str(error)` is the reason."""


def fetch(read: Callable[[], T]) -> T:
    """What `read` gives, as `retried` calls it.

    Raises:
        RemoteError: it failed to the last.
        RaliError: `read` raised it.
    """
    try:
        return retried(read)
    except RaliError:
        raise
    except Exception as error:  # each driver has errors of its own
        raise RemoteError(reason(error)) from error


def retried(read: Callable[[], T]) -> T:
    """What `read` gives; it is called again, after a while, where it failed and may not fail again.

    Raises:
        Exception: what `read` raised the last time.
    """
    for wait in WAITS:
        try:
            return read()
        except Exception as error:
            if not _may_pass(error):
                raise
        time.sleep(wait)
    return read()


def reason(error: Exception) -> str:
    """Why a place cannot be read, in one sentence."""
    if isinstance(error, RaliError):
        return str(error)
    error = _root(error)
    status = _status(error)
    if isinstance(error, FileNotFoundError) or status == 404:
        return "There is no such file."
    if status:
        said = getattr(error, "message", "") or "no reason"
        return f"The server answered {status} ({shortened(said)})."
    if isinstance(error, TimeoutError):
        return "The server did not answer in time."
    text = shortened(str(error).strip().rstrip(".") or type(error).__name__)
    return f"It cannot be fetched ({text})."


def _may_pass(error: Exception) -> bool:
    """Whether another try may do better: the server says "later", or the connection ended."""
    error = _root(error)
    if isinstance(error, RaliError):
        return False
    if status := _status(error):
        return status in _LATER
    names = {kind.__name__ for kind in type(error).__mro__}
    dropped = isinstance(error, TimeoutError | ConnectionError) or bool(names & _DROPPED)
    return dropped and not names & _NEVER_MET


def _root(error: Exception) -> Exception:
    """The error itself; fsspec says of whatever a server answers that there is no such file."""
    cause = error.__cause__
    return cause if isinstance(error, FileNotFoundError) and isinstance(cause, Exception) else error


def _status(error: Exception) -> int | None:
    """The status of an HTTP answer: aiohttp's, or that of the hub's library."""
    answer = getattr(error, "response", None)
    return getattr(error, "status", None) or getattr(answer, "status_code", None)
