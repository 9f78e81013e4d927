"""How much the server accepts, and the one bound on the memory of requests and of decoding."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from rali.errors import InputError
from rali.pictures.decoder import BYTES_PER_PIXEL

COPIES = 3  # of a body in JSON: bytes, text and pictures; of others two, here and to decode


@dataclass(frozen=True)
class Limits:
    """How much work the server accepts.

    Attributes:
        batch: at most this many pictures per batch. wait: seconds to wait for a batch to fill.
        queue: at most this many pictures wait for an answer; beyond that a request gets 429.
        body: at most this many bytes per request.
        memory: at most this many bytes, a quarter of them for all requests being read or answered
            (beyond that 429), the rest for pictures being decoded (which wait for one another).
        connections: at most this many at once; the one that has been idle longest makes room.
        idle: seconds in which a request's head has to arrive, the next part of its body, the next
            request of a connection, and in which a reply has to be read on.
        request: seconds in which a whole request has to arrive.
        picture: seconds that decoding a picture may take.
        stop: seconds after which a server that is to stop no longer waits for its clients.
    """

    batch: int = 16
    wait: float = 0.003
    queue: int = 512
    body: int = 64 * 2**20
    memory: int = 2048 * 2**20
    connections: int = 512
    idle: float = 10.0
    request: float = 60.0
    picture: float = 20.0
    stop: float = 20.0

    def check(self, max_pixels: int = 0) -> None:
        """Compare the limits with one another, and with the largest picture.

        Raises:
            InputError: the memory has no room for one request or for one picture.
        """
        needed = max(4 * COPIES * self.body, -(-4 * BYTES_PER_PIXEL * max_pixels // 3))
        if self.memory < needed:
            raise InputError(
                f"{self.memory / 2**20:g} MiB of memory have no room for a request of "
                f"{self.body / 2**20:g} MiB and a picture of {max_pixels / 1e6:g} megapixels: give "
                f"--memory-mib {-(-needed // 2**20)}, or less of --max-mib or --max-megapixels."
            )


class FullError(Exception):
    """There is no room for this now."""


class Room:
    """The bytes that requests hold, and those that decoding takes."""

    def __init__(self, memory: int) -> None:
        self.for_requests, self.held = memory // 4, 0
        self.for_decoding, self.decoding = memory - memory // 4, 0
        self.pixels = self.for_decoding // BYTES_PER_PIXEL  # of the largest picture
        self._turn, self._freed = asyncio.Lock(), asyncio.Event()

    def take(self, size: int) -> None:
        """Take room for `size` more bytes of a request.

        Raises:
            FullError: there is too little room.
        """
        if self.held + size > self.for_requests:
            raise FullError(
                f"Other requests hold {self.held:,} bytes of at most {self.for_requests:,}"
            )
        self.held += size

    @asynccontextmanager
    async def to_decode(self, size: int) -> AsyncIterator[None]:
        """Wait until there is room to decode; who came first is first."""
        size = min(size, self.for_decoding)
        async with self._turn:
            while self.decoding + size > self.for_decoding:
                self._freed.clear()
                await self._freed.wait()
            self.decoding += size
        try:
            yield
        finally:
            self.decoding -= size
            self._freed.set()
