"""The ASGI application: which requests it takes and what it answers.

    POST /score    JSON {"images": [BASE64, …]}, multipart files, or one picture as the body
                   → {"model": …, "results": [{"score": 3.87, "error": null}, …]}, in order;
                   ?explain=true, ?interval=0.9 and ?map=true add to each result
    POST /compute  Flow-Factory's {"prompt": […], "image": [BASE64, …]} → {"rewards": [3.87, …]}
    GET  /healthz, /health         {"status": "ok"}
    GET  /metrics                  Prometheus' text format
    GET  /, /docs, /openapi.json   what it is and takes

A picture that cannot be read gets a result with the reason; the others are scored. A request that
cannot be answered gets {"error": "…"} and a status: 400 malformed, 401 wrong token, 408 not sent in
time, 413 too large, 415 another kind of body, 429 no room now, 503 the server stops,
or the Hub does not say whether the model can answer.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from rali.scoring.scorer import Scorer

from .asked import Asked, Lacks, asked_of, refuse_unknown
from .batcher import IN_FLIGHT, Answer, Batcher, Scored
from .bodies import CLOSE, read_pictures, read_samples
from .decoders import Decoders, Pixels
from .limits import FullError, Limits, Room
from .openapi import DESCRIPTION, as_page

T = TypeVar("T")


def create_app(
    scorer: Scorer,
    limits: Limits | None = None,
    *,
    name: str = "builtin",
    token: str = "",
    origins: Sequence[str] = (),
) -> Starlette:
    """The application that serves one model.

    Args:
        name: the model's name in replies.
        token: requests for scores and metrics must send `Authorization: Bearer TOKEN`, or the token
            as the password of an address (`http://any:TOKEN@host`); "" asks for none.
        origins: web pages of these origins may ask, such as "https://example.org"; "*" is all.

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

    lacks = Lacks(scorer)
    mapping = asyncio.Lock()

    async def answered(
        request: Request, answer: Callable[[Callable[[int], None]], Awaitable[Response]]
    ) -> Response:
        """What `answer` returns, which takes room for bytes of the request before it holds them."""
        begin = time.perf_counter()
        status, taken = 500, 0

        def take(size: int) -> None:
            nonlocal taken
            room.take(size)
            taken += size

        try:
            check_token(request, token)
            if batcher.pending >= limits.queue:
                raise FullError(f"{limits.queue} pictures are waiting, and that is the limit")
            response = await answer(take)
            status = response.status_code
            return response
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

    async def answers_to(request: Request, received: Sequence[bytes | str]) -> list[Answer]:
        readable = [each for each in received if isinstance(each, bytes)]
        scored = iter(await _unless_left(request, batcher.score(readable)))
        answers = []
        for each in received:
            answer = Answer(None, each) if isinstance(each, str) else next(scored)
            pictures.labels("unreadable" if answer.score is None else "scored").inc()
            answers.append(answer)
        return answers

    async def map_of(picture: bytes | str) -> Any:
        """One map at a time, and no other while its thread runs, even if its client has left."""
        async with mapping, decoders.whole(picture if isinstance(picture, bytes) else b"") as rgb:
            if isinstance(rgb, str):
                return None
            work = asyncio.create_task(asyncio.to_thread(scorer.map, rgb))
            try:
                found = await asyncio.shield(work)
            finally:
                await asyncio.wait({work})
            y, x = (each.tolist() for each in found.centres)
            return {"scores": found.scores.tolist(), "y": y, "x": x}

    async def score(request: Request) -> Response:
        async def answer(take: Callable[[int], None]) -> Response:
            asked = await asked_of(request.query_params, scorer, lacks)
            received = await read_pictures(request, limits, take)
            if asked.map and len(received) != 1:
                reason = f"map takes one picture per request; got {len(received)}."
                raise HTTPException(400, reason)
            answers = await answers_to(request, received)
            results = await asyncio.to_thread(results_of, scorer, answers, asked)
            if asked.map:
                results[0]["map"] = await _unless_left(request, map_of(received[0]))
            return JSONResponse({"model": name, "results": results})

        return await answered(request, answer)

    async def compute(request: Request) -> Response:
        async def answer(take: Callable[[int], None]) -> Response:
            refuse_unknown(request.query_params)
            received, counts = await read_samples(request, limits, take)
            answers = iter(await answers_to(request, received))
            rewards: list[float] = []
            for number, count in enumerate(counts, 1):
                own = [next(answers) for _ in range(count)]
                if wrong := [each.error for each in own if each.score is None]:
                    # Its client reads the reason only where the status is 200.
                    return JSONResponse({"error": f"Number {number} has no reward: {wrong[0]}"})
                rewards.append(sum(each.score or 0.0 for each in own) / count)
            return JSONResponse({"rewards": rewards})

        return await answered(request, answer)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def metrics(request: Request) -> Response:
        check_token(request, token)
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    async def refuse(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    about = (Path(__file__).parent / "page" / "index.html").read_text("utf-8")
    middleware = [Middleware(GZipMiddleware, minimum_size=1000)]
    if origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(origins),
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type"],
                expose_headers=["Retry-After"],
            )
        )
    return Starlette(
        routes=[
            Route("/score", score, methods=["POST"]),
            Route("/compute", compute, methods=["POST"]),
            Route("/healthz", health),
            Route("/health", health),
            Route("/metrics", metrics),
            Route("/openapi.json", _fixed(lambda: JSONResponse(DESCRIPTION))),
            Route("/docs", _fixed(lambda: _page(as_page()))),
            Route("/", _fixed(lambda: _page(about))),
        ],
        middleware=middleware,
        exception_handlers={HTTPException: refuse},
        lifespan=lifespan,
    )


def check_token(request: Request, token: str) -> None:
    """Raise an HTTPException where the request lacks the token."""
    scheme, _, sent = request.headers.get("authorization", "").strip().partition(" ")
    given, scheme = sent.strip().encode("latin-1"), scheme.lower()
    if scheme == "basic":
        try:
            given = base64.b64decode(given, validate=True).partition(b":")[2]
        except ValueError:
            given = b""
    right = hmac.compare_digest(given, token.encode())
    if token and not (right and scheme in ("bearer", "basic")):
        wanted = "Expected the header Authorization: Bearer TOKEN."
        raise HTTPException(401, wanted, {"WWW-Authenticate": "Bearer"})


def results_of(scorer: Scorer, answers: Sequence[Answer], asked: Asked) -> list[dict[str, Any]]:
    """A reply's results; what was asked for is None where there is no score."""
    results = []
    for answer in answers:
        result: dict[str, Any] = {"score": answer.score, "error": answer.error}
        if asked.interval is not None:
            low, high = None, None
            if answer.score is not None:
                low, high = scorer.interval.around(answer.score, asked.interval)
            result |= {"low": low, "high": high}
        if asked.explain:
            why = None
            if answer.score is not None:
                why = [asdict(each) for each in scorer.phrases.rank(answer.embedding)]
            result["why"] = why
        results.append(result)
    return results


def runner(scorer: Scorer) -> Callable[[list[Pixels]], list[Scored]]:
    """The model on pixels of some pictures: `batch_size` per run, as many runs at once as cores."""
    pool = ThreadPoolExecutor(scorer.threads, thread_name_prefix="rali")

    def run(some: Sequence[Pixels]) -> list[Scored]:
        ready = scorer.buffer()[: len(some)]
        for place, pixels in enumerate(some):
            scorer.preprocess.normalise(pixels, ready[place])
        scores, embeddings = scorer.run(ready)
        return list(zip(map(float, scores), embeddings, strict=True))

    def run_all(batch: list[Pixels]) -> list[Scored]:
        step = scorer.batch_size
        parts = [batch[start : start + step] for start in range(0, len(batch), step)]
        return [scored for part in pool.map(run, parts) for scored in part]

    return run_all


def _page(html: str) -> Response:
    """A page that may talk to its own server only."""
    inline = "'unsafe-inline'"
    rules = f"default-src 'none'; style-src {inline}; script-src {inline}; connect-src 'self'; "
    return HTMLResponse(html, headers={"Content-Security-Policy": rules + "img-src blob: data:"})


def _fixed(made: Callable[[], Response]) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    """A new response each time, as what compresses it writes into its headers."""

    async def give(_: Request) -> Response:
        return made()

    return give


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
