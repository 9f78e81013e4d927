"""The ASGI application: which requests it takes and what it answers.

    POST /score    JSON {"images": [BASE64, …]}, multipart files, or one picture as the body
                   → {"model": …, "results": [{"score": 3.87, "error": null}, …]}, in order
    GET  /healthz  {"status": "ok"}
    GET  /metrics  Prometheus' text format

A picture that cannot be read gets a result with the reason; the others are scored. A request that
cannot be answered gets {"error": "…"} and a status: 400 malformed, 401 wrong token, 408 not sent in
time, 413 too large, 415 another kind of body, 429 no room now, 503 the server stops.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rali.scoring.scorer import Scorer

from .batcher import IN_FLIGHT, Answer, Batcher
from .bodies import CLOSE, read_pictures
from .decoders import Decoders, Pixels
from .limits import FullError, Limits, Room

T = TypeVar("T")


def create_app(
    scorer: Scorer, limits: Limits | None = None, *, name: str = "builtin", token: str = ""
) -> Starlette:
    """The application that serves one model.

    Args:
        name: the model's name in replies.
        token: every request except /healthz must send `Authorization: Bearer TOKEN`; "" asks for
            none.

    Raises:
        InputError: the limits contradict one another.
    """
    limits = limits or Limits()
    limits.check()
    registry = CollectorRegistry()
    requests = Counter("rali_requests", "Requests to score.", ["status"], registry=registry)
    pictures = Counter("rali_pictures", "Pictures answered.", ["outcome"], registry=registry)
    seconds = Histogram("rali_request_seconds", "From request to reply.", registry=registry)
    sizes = Histogram(
        "rali_batch_pictures", "Pictures per batch.", registry=registry,
        buckets=[2**n for n in range(10)],
    )  # fmt: skip
    room = Room(limits.memory)
    decoders = Decoders(
        scorer.preprocess,
        min(scorer.max_pixels, room.pixels),
        count=scorer.threads,
        seconds=limits.picture,
        room=room,
    )
    batcher = Batcher(
        decoders,
        runner(scorer),
        size=limits.batch,
        wait=limits.wait,
        capacity=limits.queue,
        ahead=IN_FLIGHT * limits.batch + scorer.threads,
        scored=sizes.observe,
    )
    for key, text, value in (
        ("rali_pending_pictures", "Accepted and not answered.", lambda: batcher.pending),
        ("rali_held_bytes", "Of requests being read or answered.", lambda: room.held),
        ("rali_decoding_bytes", "For pictures being decoded.", lambda: room.decoding),
    ):
        Gauge(key, text, registry=registry).set_function(value)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await decoders.start()
        batcher.start()
        yield
        await batcher.stop()
        await decoders.stop()

    def check_token(request: Request) -> None:
        scheme, _, sent = request.headers.get("authorization", "").strip().partition(" ")
        right = hmac.compare_digest(sent.strip().encode("latin-1"), token.encode())
        if token and not (right and scheme.lower() == "bearer"):
            wanted = "Expected the header Authorization: Bearer TOKEN."
            raise HTTPException(401, wanted, {"WWW-Authenticate": "Bearer"})

    async def score(request: Request) -> Response:
        begin = time.perf_counter()
        status, taken = 500, 0

        def take(size: int) -> None:
            nonlocal taken
            room.take(size)
            taken += size

        try:
            check_token(request)
            if batcher.pending >= limits.queue:
                raise FullError(f"{limits.queue} pictures are waiting, and that is the limit")
            received = await read_pictures(request, limits, take)
            readable = [each for each in received if isinstance(each, bytes)]
            scored = iter(await _unless_left(request, batcher.score(readable)))
            results = []
            for each in received:
                answer = Answer(None, each) if isinstance(each, str) else next(scored)
                pictures.labels("unreadable" if answer.score is None else "scored").inc()
                results.append(answer._asdict())
            status = 200
            return JSONResponse({"model": name, "results": results})
        except HTTPException as error:
            status = error.status_code
            raise
        except ClientDisconnect:
            status = 499  # as other servers log it; there is nobody to answer
            return Response(status_code=status)
        except FullError as error:
            status = 429
            reason = f"{error}: send it again in a second."
            raise HTTPException(429, reason, {"Retry-After": "1"}) from None
        except asyncio.CancelledError:  # by the server, which no longer waits
            status = 503
            reason = "The server stops: send it to another, or again in a while."
            raise HTTPException(503, reason, CLOSE) from None
        finally:
            room.held -= taken
            requests.labels(str(status)).inc()
            seconds.observe(time.perf_counter() - begin)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def metrics(request: Request) -> Response:
        check_token(request)
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    async def refuse(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    return Starlette(
        routes=[
            Route("/score", score, methods=["POST"]),
            Route("/healthz", health),
            Route("/metrics", metrics),
        ],
        exception_handlers={HTTPException: refuse},
        lifespan=lifespan,
    )


def runner(scorer: Scorer) -> Callable[[list[Pixels]], list[float]]:
    """The model on pixels of some pictures: `batch_size` per run, as many runs at once as cores."""
    pool = ThreadPoolExecutor(scorer.threads, thread_name_prefix="rali")

    def run(some: Sequence[Pixels]) -> list[float]:
        ready = scorer.buffer()[: len(some)]
        for place, pixels in enumerate(some):
            scorer.preprocess.normalise(pixels, ready[place])
        scores: np.ndarray = scorer.run(ready)[0]
        return [float(score) for score in scores]

    def run_all(batch: list[Pixels]) -> list[float]:
        step = scorer.batch_size
        parts = [batch[start : start + step] for start in range(0, len(batch), step)]
        return [score for part in pool.map(run, parts) for score in part]

    return run_all


async def _unless_left(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled if the client leaves first.

    Raises:
        ClientDisconnect: the client has left.
    """

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.create_task(work), asyncio.create_task(left())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()
