"""The ASGI application: which requests it takes and what it answers.

    POST /score    JSON {"images": [BASE64, …]}, multipart files, or one picture as the body
                   → {"model": …, "results": [{"score": 3.87, "error": null}, …]}, in order
    GET  /healthz  {"status": "ok", …}
    GET  /metrics  Prometheus' text format

A picture that cannot be read gets a result with the reason; the others are scored. A request that
cannot be answered gets {"error": "…"} and a status: 400 malformed, 401 wrong token, 408 not sent in
time, 413 too large, 415 another kind of body, 429 no room now.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rali.scoring.scorer import Scorer
from rali.version import __version__

from .batcher import Batcher, FullError

PER_REQUEST = 512  # pictures
JSON_PARTS = 100_000  # values in a JSON body: small values take far more memory than bytes
T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """How much work the server accepts.

    Attributes:
        batch: at most this many pictures per batch. wait: seconds to wait for a batch to fill.
        queue: at most this many pictures wait for an answer; beyond that a request gets 429.
        body: at most this many bytes per request.
        memory: at most this many bytes for all requests being read or answered; beyond that 429.
        patience: seconds in which a client has to send its request.
    """

    batch: int = 16
    wait: float = 0.003
    queue: int = 512
    body: int = 64 * 2**20
    memory: int = 512 * 2**20
    patience: float = 60.0


def create_app(
    scorer: Scorer, limits: Limits | None = None, *, name: str = "builtin", token: str = ""
) -> Starlette:
    """The application that serves one model.

    Args:
        name: the model's name in replies.
        token: every request except /healthz must send `Authorization: Bearer TOKEN`; "" asks for
            none.
    """
    limits = limits or Limits()
    registry = CollectorRegistry()
    requests = Counter("rali_requests", "Requests to score.", ["status"], registry=registry)
    pictures = Counter("rali_pictures", "Pictures answered.", ["outcome"], registry=registry)
    seconds = Histogram("rali_request_seconds", "From request to reply.", registry=registry)
    sizes = Histogram(
        "rali_batch_pictures", "Pictures per batch.", registry=registry,
        buckets=[2**n for n in range(10)],
    )  # fmt: skip
    batcher = Batcher(
        scorer, size=limits.batch, wait=limits.wait, capacity=limits.queue, scored=sizes.observe
    )
    pending = Gauge("rali_pending_pictures", "Accepted and not answered.", registry=registry)
    pending.set_function(lambda: batcher.pending)
    held = Gauge("rali_held_bytes", "Of requests being read or answered.", registry=registry)
    room = _Room(limits.memory)
    held.set_function(lambda: room.held)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        batcher.start()
        yield
        await batcher.stop()

    def check_token(request: Request) -> None:
        sent = request.headers.get("authorization", "")
        if token and not hmac.compare_digest(sent.encode(), f"Bearer {token}".encode()):
            raise HTTPException(401, "Expected the header Authorization: Bearer TOKEN.")

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
                score, error = None, each if isinstance(each, str) else None
                if error is None:
                    result = next(scored)
                    score, error = result.score, result.error
                pictures.labels("unreadable" if score is None else "scored").inc()
                results.append({"score": score, "error": error})
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
        finally:
            room.held -= taken
            requests.labels(str(status)).inc()
            seconds.observe(time.perf_counter() - begin)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "model": name, "rali": __version__})

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


class _Room:
    """The bytes that all requests may hold together."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0

    def take(self, size: int) -> None:
        """Take room for `size` more bytes.

        Raises:
            FullError: there is too little room.
        """
        if self.held + size > self.most:
            raise FullError(f"Other requests hold {self.held:,} bytes of at most {self.most:,}")
        self.held += size


async def read_pictures(
    request: Request, limits: Limits, take: Callable[[int], None]
) -> list[bytes | str]:
    """Each picture's bytes, or the reason why it has none.

    Args:
        take: called with a number of bytes before they are held.

    Raises:
        HTTPException: the request as a whole cannot be used. FullError: `take` has no room.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    most = min(PER_REQUEST, limits.queue)
    try:
        async with asyncio.timeout(limits.patience):
            body = await _body(request, limits.body, take)
    except TimeoutError:
        reason = f"The request did not arrive within {limits.patience:g} seconds."
        raise HTTPException(408, reason, {"Connection": "close"}) from None
    if kind == "application/json":
        received: list[bytes | str] = await asyncio.to_thread(_from_json, body, most)
    elif kind == "multipart/form-data":
        received = await _files(request, body)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        received = [body]
    else:
        raise HTTPException(
            415,
            f"Content-Type is {kind or 'missing'}; expected application/json, multipart/form-data "
            "or image/….",
        )
    _check_count(len(received), most)
    return received


def _check_count(count: int, most: int) -> None:
    if not 1 <= count <= most:
        status = 413 if count else 400
        raise HTTPException(status, f"A request holds 1 to {most} pictures; got {count}.")


async def _body(request: Request, most: int, take: Callable[[int], None]) -> bytes:
    """The whole body; room for its announced length is taken before it is read."""
    too_large = HTTPException(413, f"The request is larger than {most:,} bytes: send fewer.")
    length = request.headers.get("content-length", "0")
    announced = int(length) if length.isdecimal() else 0
    if announced > most:
        raise too_large
    take(announced)
    body = bytearray()
    async for part in request.stream():
        if len(body) + len(part) > most:
            raise too_large
        if not announced:
            take(len(part))
        body += part
    return bytes(body)


def _images(body: bytes) -> list[Any]:
    if sum(map(body.count, (b",", b"{", b"["))) > JSON_PARTS:
        raise HTTPException(413, f"The body is JSON of more than {JSON_PARTS:,} parts.")
    try:
        images = json.loads(body)["images"]
    except (ValueError, KeyError, TypeError, RecursionError):
        images = None
    if not isinstance(images, list):
        raise HTTPException(400, 'The body is not JSON such as {"images": ["BASE64", …]}.')
    return images


def _from_json(body: bytes, most: int) -> list[bytes | str]:
    images = _images(body)
    _check_count(len(images), most)
    return [_decoded(image) for image in images]


def _decoded(image: Any) -> bytes | str:
    if not isinstance(image, str):
        return "This is not text: a picture is its file's bytes in base64."
    if image.startswith("data:"):
        image = image.partition(",")[2]
    try:
        return base64.b64decode("".join(image.split()), validate=True)
    except (binascii.Error, ValueError):
        return "This is not base64: a picture is its file's bytes in base64."


async def _files(request: Request, body: bytes) -> list[bytes | str]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(
            request.headers, stream(), max_files=PER_REQUEST, max_part_size=len(body)
        ).parse()
    except (MultiPartException, KeyError, ValueError) as error:  # ValueError: older parsers' own
        reason = str(error).rstrip(".")
        raise HTTPException(400, f"The body is not multipart/form-data: {reason}.") from error
    async with _closing(form):
        return [
            await value.read() for _, value in form.multi_items() if isinstance(value, UploadFile)
        ]


@asynccontextmanager
async def _closing(form: Any) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await form.close()
