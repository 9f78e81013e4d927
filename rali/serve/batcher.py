"""Pictures of many requests, collected into batches: an asyncio queue in front of a `Scorer`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from rali.scoring.scorer import Result, Scorer

# The next batch begins while one is scored, so that no core waits for a last picture. Both share
# the scorer's threads. A server whose batches are single pictures has one worker.
IN_FLIGHT = 2

Waiting = tuple[bytes, "asyncio.Future[Result]"]


class FullError(Exception):
    """There is no room for these pictures now."""


class Batcher:
    """Scores pictures in batches, in order of arrival.

    Args:
        size: at most this many pictures per batch.
        wait: seconds to wait for more pictures once there is one.
        capacity: at most this many pictures wait for an answer.
        scored: called with the number of pictures in each batch.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        size: int,
        wait: float,
        capacity: int,
        scored: Callable[[int], object] = lambda count: None,
    ) -> None:
        self.scorer, self.size, self.wait, self.capacity = scorer, size, wait, capacity
        self.pending = 0
        self._scored = scored
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue()
        self._collecting = asyncio.Lock()
        self._workers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        count = 1 if self.size == 1 else IN_FLIGHT
        self._workers = [asyncio.create_task(self._work()) for _ in range(count)]

    async def stop(self) -> None:
        """Answer the pictures that were accepted, then end."""
        await self._queue.join()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def score(self, pictures: Sequence[bytes]) -> list[Result]:
        """One result per picture, in order; a picture that cannot be read gets `error`.

        Raises:
            FullError: there is no room for all of them, and none is accepted.
        """
        if self.pending + len(pictures) > self.capacity:
            raise FullError(f"{self.pending} pictures of at most {self.capacity} are waiting")
        loop = asyncio.get_running_loop()
        futures = []
        for picture in pictures:
            future: asyncio.Future[Result] = loop.create_future()
            futures.append(future)
            self.pending += 1
            self._queue.put_nowait((picture, future))
        return await asyncio.gather(*futures)

    async def _work(self) -> None:
        while True:
            async with self._collecting:
                batch = await self._collect()
            wanted = [
                each for each in batch if not each[1].cancelled()
            ]  # the client is still there
            try:
                results = await asyncio.to_thread(self._score, [picture for picture, _ in wanted])
                for (_, future), result in zip(wanted, results, strict=True):
                    if not future.done():
                        future.set_result(result)
            except Exception as error:  # a bug; nobody must wait for ever
                for _, future in wanted:
                    if not future.done():
                        future.set_exception(error)
            finally:
                self.pending -= len(batch)
                for _ in batch:
                    self._queue.task_done()
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

    def _score(self, pictures: list[bytes]) -> list[Result]:
        return list(self.scorer.score_many(pictures))
