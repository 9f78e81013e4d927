"""Pictures' files in, pixels out, by processes that are ended when one takes too long.

A decoder cannot be interrupted inside a process; a process can. Its end also frees the memory and
the core of a picture whose sender has left.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

import numpy as np

from rali.pictures.decoder import BYTES_PER_PIXEL, PREPARED, WHOLE
from rali.pictures.preprocess import Preprocess

from .limits import Room

Pixels: TypeAlias = np.ndarray  # uint8 [S, S, 3], or [H, W, 3] of a whole picture


class Decoders:
    """At most `count` processes, each started when it is first needed.

    Args:
        preprocess: what the model wants.
        max_pixels: a picture that announces more is refused.
        seconds: how long decoding a picture may take.
        room: the memory that decoding may take.
    """

    def __init__(
        self, preprocess: Preprocess, max_pixels: int, *, count: int, seconds: float, room: Room
    ) -> None:
        self.seconds, self.room, self.max_pixels = seconds, room, max_pixels
        fields = json.dumps(preprocess.to_dict())
        self._command = (sys.executable, "-m", "rali.pictures.decoder", fields, str(max_pixels))
        self._free: asyncio.LifoQueue[_Process] = asyncio.LifoQueue()
        self._all = [_Process(self._command) for _ in range(count)]
        for process in self._all:
            self._free.put_nowait(process)

    async def __call__(self, picture: bytes) -> Pixels | str:
        """A picture's pixels for the model, or the reason why there are none."""
        async with AsyncExitStack() as held:
            return await self._ask(picture, PREPARED, held)

    @asynccontextmanager
    async def whole(self, picture: bytes) -> AsyncIterator[Pixels | str]:
        """A picture's own pixels, uint8 [H, W, 3], or why there are none; they keep their room."""
        async with AsyncExitStack() as held:
            yield await self._ask(picture, WHOLE, held)

    async def _ask(self, picture: bytes, wanted: bytes, held: AsyncExitStack) -> Pixels | str:
        process = await self._free.get()
        try:
            return await self._decode(process, picture, wanted, held)
        except TimeoutError:
            process.kill()
            return f"Decoding the picture took more than {self.seconds:g} seconds."
        except (EOFError, ConnectionError):
            process.kill()
            return "The decoder came to its end: the picture is damaged, or needs too much memory."
        except BaseException:  # the sender has left
            process.kill()
            raise
        finally:
            self._free.put_nowait(process)

    async def _decode(
        self, process: _Process, picture: bytes, wanted: bytes, held: AsyncExitStack
    ) -> Pixels | str:
        await process.start()
        async with asyncio.timeout(self.seconds):
            size = await process.ask(len(picture).to_bytes(8, "big"), picture)
        width, height = size or (self.max_pixels, 1)
        needed = BYTES_PER_PIXEL * min(width * height, self.max_pixels)
        await held.enter_async_context(self.room.to_decode(needed))
        async with asyncio.timeout(self.seconds):
            answer = await process.ask(wanted)
            if isinstance(answer, str):
                return answer
            height, width = answer
            pixels = await process.read(3 * height * width)
            return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)

    async def start(self) -> None:
        """Start the first process, which shows that processes can be started."""
        await self._all[-1].start()

    async def stop(self) -> None:
        """End all of them."""
        await asyncio.gather(*(process.end() for process in self._all))


def _environment() -> dict[str, str]:
    """Ours; and glibc gives every large block back at once, where it would keep up to 64 MiB."""
    return {"MALLOC_MMAP_THRESHOLD_": str(2**20), **os.environ}


class _Process:
    def __init__(self, command: tuple[str, ...]) -> None:
        self._command = command
        self._running: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        if self._running and self._running.returncode is None:
            return
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        self._running = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, stderr=nothing, limit=2**22, env=_environment()
        )
        if await self._output.readline() != b"ready\n":
            raise RuntimeError(f"{' '.join(self._command[:3])} does not start.")

    @property
    def _output(self) -> asyncio.StreamReader:
        assert self._running and self._running.stdout
        return self._running.stdout

    async def ask(self, *parts: bytes) -> Any:
        """Write `parts`; returns the line that comes back, from JSON."""
        assert self._running and self._running.stdin
        self._running.stdin.writelines(parts)
        await self._running.stdin.drain()
        line = await self._output.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        return json.loads(line)

    async def read(self, size: int) -> bytes:
        return await self._output.readexactly(size)

    def kill(self) -> asyncio.subprocess.Process | None:
        running, self._running = self._running, None
        if running:
            with contextlib.suppress(ProcessLookupError):
                running.kill()
        return running

    async def end(self) -> None:
        if running := self.kill():
            await running.wait()
