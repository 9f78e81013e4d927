"""Pictures of many requests in batches: order, refusals and clients that leave."""

from __future__ import annotations

import asyncio
import time

import pytest
from coroutines import finished

from rali.serve.batcher import Answer, Batcher
from rali.serve.limits import FullError, Room


class Slow:
    """A decoder of numbers, and a model that remembers its batches; each takes a moment."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    async def decode(self, picture: bytes) -> float | str:
        return float(picture) if picture != b"?" else "This is not a picture."

    def run(self, numbers: list[float]) -> list[tuple[float, None]]:
        self.batches.append(len(numbers))
        time.sleep(0.05)
        return [(number, None) for number in numbers]

    def batcher(self, size: int, wait: float, capacity: int) -> Batcher:
        batcher = Batcher(
            self.decode, self.run, size=size, wait=wait, capacity=capacity, ahead=2 * size
        )
        batcher.start()
        return batcher


def test_pictures_of_many_requests_share_batches_in_order():
    async def run() -> tuple[list[list[Answer]], list[int]]:
        slow = Slow()
        batcher = slow.batcher(size=8, wait=0.02, capacity=100)
        replies = await asyncio.gather(
            *(batcher.score([b"%d" % (10 * n + k) for k in range(3)]) for n in range(8))
        )
        await batcher.stop()
        assert batcher.pending == 0
        return replies, slow.batches

    replies, batches = finished(run())
    assert replies == [[Answer(10 * n + k, None) for k in range(3)] for n in range(8)]
    assert batches == [8, 8, 8]


def test_what_has_no_room_is_refused_and_what_was_accepted_is_answered():
    async def run() -> None:
        batcher = Slow().batcher(size=2, wait=0, capacity=4)
        accepted = asyncio.create_task(batcher.score([b"1", b"?", b"nan"]))
        await asyncio.sleep(0)
        with pytest.raises(FullError):
            await batcher.score([b"4", b"5"])
        await batcher.stop()  # waits for them
        assert await accepted == [
            Answer(1, None),
            Answer(None, "This is not a picture."),
            Answer(None, "The model gave nan, which is no score."),
        ]

    finished(run())


def test_a_client_that_left_is_not_scored_for():
    async def run() -> list[int]:
        slow = Slow()
        batcher = slow.batcher(size=1, wait=0, capacity=10)
        stays = asyncio.create_task(batcher.score([b"1"]))
        leaves = asyncio.create_task(batcher.score([b"2"]))
        await asyncio.sleep(0.02)  # the worker is busy
        leaves.cancel()
        await stays
        await asyncio.sleep(0.01)
        await batcher.stop()
        assert batcher.pending == 0
        return slow.batches

    assert sum(finished(run())) == 1


def test_room_to_decode_is_given_in_order_and_never_too_much():
    async def run() -> None:
        room = Room(400)  # 300 to decode
        order, most = [], 0

        async def decode(name: int, size: int) -> None:
            nonlocal most
            async with room.to_decode(size):
                order.append(name)
                most = max(most, room.decoding)
                await asyncio.sleep(0.001)

        sizes = [100, 250, 50, 1000, 10, 10, 290, 300]
        tasks = [asyncio.create_task(decode(*each)) for each in enumerate(sizes)]
        await asyncio.sleep(0)
        tasks[2].cancel()  # while it waits
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == [0, 1, 3, 4, 5, 6, 7] and most == 300 and room.decoding == 0
        room.take(100)
        with pytest.raises(FullError, match="hold 100 bytes of at most 100"):
            room.take(1)

    finished(run())
