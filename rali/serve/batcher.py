"""Pictures of many requests, collected into batches: an asyncio queue in front of a `Scorer`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from rali.scoring.scorer import Result, Scorer

# While one batch is scored the next is begun, so that no core waits for a last picture; they share
# the scorer's threads. A server that scores one at a time has one worker.
IN_FLIGHT = 2

Waiting = tuple[bytes, "asyncio.Future[Result]"]


class FullError(Exception):
    """There is no room for so many pictures now."""


class Batcher:
    """Scores what `offer` accepts, in order of arrival.

    Args:
        size: pictures per batch, at most.
        wait: seconds to wait for more once there is one.
        capacity: pictures accepted and not answered, at most.
        scored: called with the number of pictures of each batch.
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
        """Answer what was accepted, then end."""
        await self._queue.join()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def score(self, pictures: Sequence[bytes]) -> list[Result]:
        """One result per picture, in order; a picture that cannot be read is one with `error`.

        Raises:
            FullError: there is no room for all of them; none was accepted.
        """
        if self.pending + len(pictures) > self.capacity:
            raise FullError(f"{self.pending} pictures are waiting, of {self.capacity} at most")
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
            wanted = [each for each in batch if not each[1].cancelled()]  # whose client is there
            try:
                results = await asyncio.to_thread(self._score, [picture for picture, _ in wanted])
                for (_, future), result in zip(wanted, results, strict=True):
                    if not future.done():
                        future.set_result(result)
            except Exception as error:  # a bug; whoever waits must not wait for ever
                for _, future in wanted:
                    if not future.done():
                        future.set_exception(error)
            finally:
                self.pending -= len(batch)
                for _ in batch:
                    self._queue.task_done()
            self._scored(len(wanted))

    async def _collect(self) -> list[Waiting]:
        """The next batch: as many as there are, or come within `wait`."""
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
