"""A file at an address that is read nearly in order, as a tar is: one request instead of thousands.

In: an address. Out: its bytes in order, as a file that a walk goes through, and any stretch of them
for those who come behind the walk, nearly in order too. What was read last is kept for them.
"""

from __future__ import annotations

import io
import os
import threading
from collections import deque
from typing import Any

from .remote import ByPlace, read_range, stream
from .tries import fetch

_KEPT = 32 * 2**20  # bytes that have been read
_NEAR = 4 * 2**20  # bytes that are read and passed over rather than asked for anew
_PIECE = 1 << 20
_FILES = 4

_known: dict[tuple[int, str], Streamed] = {}  # by process: a fork must not share a connection


def streamed(place: str) -> Streamed:
    """The file at an address as this process reads it."""
    return _known.get((os.getpid(), place)) or _remembered(Streamed(place))


def walked(place: str) -> io.RawIOBase:
    """The file at an address, open to be read once in order; `streamed` then follows it."""
    return _Walk(_remembered(Streamed(place)))


def _remembered(file: Streamed) -> Streamed:
    _known.pop((os.getpid(), file.place), None)
    _known[os.getpid(), file.place] = file
    for oldest in list(_known)[:-_FILES]:
        _known.pop(oldest, None)
    return file


class Streamed:
    """What has been read of a file, and the answer that goes on with it."""

    def __init__(self, place: str) -> None:
        self.place, self._turn = place, threading.Lock()
        self._stream: Any = None
        self._pieces = deque[tuple[int, bytes]]()
        self._held = self._end = 0  # bytes in the pieces; behind the last of them
        self._apart = 0  # behind what was asked for by itself
        self.walked = False  # a walk is going on: nobody else may lead elsewhere

    def read(self, first: int, size: int) -> bytes:
        """`size` bytes from `first`, fewer at the end of the file.

        Raises:
            RemoteError: they cannot be read.
        """
        with self._turn:
            near = 0 <= first - self._apart <= _NEAR and not self.walked
            if size <= _KEPT and (self._reaches(first) or near):
                return self._in_order(first, size)
            self._apart = first + size
        return read_range(self.place, first, size)

    def follow(self, first: int, size: int) -> bytes:
        """As `read`, for who leads."""
        with self._turn:
            return self._in_order(first, size)

    def _reaches(self, first: int) -> bool:
        start = self._pieces[0][0] if self._pieces else self._end
        return start <= first <= self._end + _NEAR

    def _in_order(self, first: int, size: int) -> bytes:
        if not self._reaches(first):
            self._leave()
            self._pieces.clear()
            self._held, self._end = 0, first
        while self._end < first + size and (piece := fetch(self._piece)):
            self._pieces.append((self._end, piece))
            self._end += len(piece)
            self._held += len(piece)
            while self._held > _KEPT and self._pieces[0][0] + len(self._pieces[0][1]) <= first:
                self._held -= len(self._pieces.popleft()[1])
        found = deque[bytes]()
        for place, piece in reversed(self._pieces):
            if place < first + size:
                found.appendleft(piece[max(0, first - place) : first + size - place])
            if place <= first:
                break
        return b"".join(found)

    def _piece(self) -> bytes:
        try:
            if self._stream is None:
                self._stream = stream(self.place, self._end)
            piece: bytes = self._stream.read(_PIECE)
            return piece
        except Exception:
            self._leave()  # the next try opens it where this one ended
            raise

    def _leave(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class _Walk(ByPlace):
    def __init__(self, file: Streamed) -> None:
        self._file = file
        file.walked = True

    def _stretch(self, size: int) -> bytes:
        return self._file.follow(self._at, size)

    def _end(self) -> int:
        raise io.UnsupportedOperation("where a stream ends is not known before")

    def close(self) -> None:
        self._file.walked = False
        super().close()
