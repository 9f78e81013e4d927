"""A stream that can only be read in order, for readers that come nearly in order.

In: a function that starts the stream, in pieces. Out: any stretch of it. The last pieces are kept,
because threads overtake each other; who asks for what is gone starts the stream again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

_KEPT = 32 * 2**20  # bytes of pieces that have been read


class Forward:
    """Pieces of a stream: bytes, or batches of rows.

    Args:
        start: the pieces from the beginning; each has a length and can be sliced.
        weight: the memory that a piece takes, in bytes.
    """

    def __init__(self, start: Callable[[], Iterator[Any]], weight: Callable[[Any], int]) -> None:
        self._start, self._weight, self._turn = start, weight, threading.Lock()
        self._stream: Iterator[Any] | None = None
        self._pieces = deque[tuple[int, Any]]()

    def slices(self, first: int, last: int) -> list[Any]:
        """What lies from `first` up to `last`, less where the stream ends before."""
        with self._turn:
            if self._stream is None or (self._pieces and first < self._pieces[0][0]):
                self._pieces.clear()
                self._stream, self._end, self._held = self._start(), 0, 0
            try:
                self._advance(first, last)
            except BaseException:
                self._stream = None
                raise
            found = [
                piece[max(0, first - place) : last - place]
                for place, piece in self._pieces
                if place < last and first < place + len(piece)
            ]
            return found

    def _advance(self, first: int, last: int) -> None:
        assert self._stream is not None
        while self._end < last and (piece := next(self._stream, None)) is not None:
            self._pieces.append((self._end, piece))
            self._end += len(piece)
            self._held += self._weight(piece)
            while self._held > _KEPT and self._pieces[0][0] + len(self._pieces[0][1]) <= first:
                self._held -= self._weight(self._pieces.popleft()[1])
