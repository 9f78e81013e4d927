"""Coroutines in tests, whichever tests ran before in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns, or raises.

    It runs in a thread of its own: the browser of the fixture `chromium` leaves its loop running
    in the main thread, where `asyncio.run` is refused from then on.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
