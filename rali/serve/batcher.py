"""Pictures of many requests: decoded one by one, then collected into batches for the model."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from .decoders import Pixels
from .limits import FullError

# The next batch begins while one is scored, so that no core waits for a last picture. A server
# whose batches are single pictures has one worker.
IN_FLIGHT = 2

Scored = tuple[float, Any]  # a score, and the embedding that it was made from
Waiting = tuple[Pixels, "asyncio.Future[Scored]"]


class Answer(NamedTuple):
    """A picture's score with the encoder's embedding, or the reason why there is none."""

    score: float | None
    error: str | None
    embedding: Any = None


class Batcher:
    """Scores pictures in batches, in order of arrival.

    Args:
        decode: a picture's file → its pixels, or the reason why there are none.
        run: pixels of some pictures → a score and an embedding each; it is called in a thread.
        size: at most this many pictures per batch.
        wait: seconds to wait for more pictures once there is one.
        capacity: at most this many pictures wait for an answer.
        ahead: at most this many pictures are decoded and not scored.
        scored: called with the number of pictures in each batch.
    """

    def __init__(
        self,
        decode: Callable[[bytes], Awaitable[Pixels | str]],
        run: Callable[[list[Pixels]], Sequence[Scored]],
        *,
        size: int,
        wait: float,
        capacity: int,
        ahead: int,
        scored: Callable[[int], object] = lambda count: None,
    ) -> None:
        self.size, self.wait, self.capacity = size, wait, capacity
        self._decode, self._run, self._scored = decode, run, scored
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue()
        self._ahead = asyncio.Semaphore(ahead)
        self._collecting = asyncio.Lock()
        self._answering: set[asyncio.Task[Answer]] = set()
        self._workers: list[asyncio.Task[None]] = []

    @property
    def pending(self) -> int:
        """Pictures that are accepted and not answered."""
        return len(self._answering)

    def start(self) -> None:
        count = 1 if self.size == 1 else IN_FLIGHT
        self._workers = [asyncio.create_task(self._work()) for _ in range(count)]

    async def stop(self) -> None:
        """Answer the pictures that were accepted, then end."""
        await asyncio.gather(*self._answering, return_exceptions=True)
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def score(self, pictures: Sequence[bytes]) -> list[Answer]:
        """One answer per picture, in order; a picture that cannot be read gets `error`.

        Raises:
            FullError: there is no room for all of them, and none is accepted.
        """
        if self.pending + len(pictures) > self.capacity:
            raise FullError(f"{self.pending} pictures of at most {self.capacity} are waiting")
        tasks = [asyncio.create_task(self._answer(picture)) for picture in pictures]
        self._answering.update(tasks)
        for task in tasks:
            task.add_done_callback(self._answering.discard)
        return await asyncio.gather(*tasks)

    async def _answer(self, picture: bytes) -> Answer:
        async with self._ahead:
            pixels = await self._decode(picture)
            if isinstance(pixels, str):
                return Answer(None, pixels)
            future: asyncio.Future[Scored] = asyncio.get_running_loop().create_future()
            self._queue.put_nowait((pixels, future))
            score, embedding = await future
        if not math.isfinite(score):
            return Answer(None, f"The model gave {score}, which is no score.")
        return Answer(score, None, embedding)

    async def _work(self) -> None:
        while True:
            async with self._collecting:
                batch = await self._collect()
            # Those whose client is still there.
            wanted = [each for each in batch if not each[1].done()]
            try:
                scores = await asyncio.to_thread(self._run, [pixels for pixels, _ in wanted])
                for (_, future), score in zip(wanted, scores, strict=True):
                    if not future.done():
                        future.set_result(score)
            except Exception as error:  # a bug; nobody must wait for ever
                for _, future in wanted:
                    if not future.done():
                        future.set_exception(error)
            self._scored(len(wanted))

    async def _collect(self) -> list[Waiting]:
        """The next batch: the pictures that are there or come within `wait`, at most `size`."""
        batch = [await self._queue.get()]
        end = asyncio.get_running_loop().time() + self.wait
        try:
            async with asyncio.timeout_at(end):
                while len(batch) < self.size:
                    batch.append(await self._queue.get())
        except TimeoutError:
            pass
        return batch
