"""A request's body in, its pictures out: JSON, multipart parts or one picture; or Flow-Factory's.

Every part is a picture, or gets its reason; where the parts cannot be told apart, or the body ends
early, the whole request is refused.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import Request

from rali.errors import PictureError, shortened
from rali.pictures.inline import from_base64, from_data_url, is_data_url

from .limits import COPIES, Limits

PER_REQUEST = 512  # pictures
JSON_PARTS = 100_000  # values in a JSON body: small values take far more memory than bytes
HEADER_BYTES = 8192  # of one multipart part
CHUNK = 2**16
CLOSE = {"Connection": "close"}


async def read_pictures(
    request: Request, limits: Limits, take: Callable[[int], None]
) -> list[bytes | str]:
    """Each picture's bytes, or the reason why it has none.

    Args:
        take: called with a number of bytes before they are held.

    Raises:
        HTTPException: the request as a whole cannot be used. FullError: `take` has no room.
        ClientDisconnect: the client has left.
    """
    most = min(PER_REQUEST, limits.queue)
    return await _pictures(request, limits, take, _kind(request, most), most)


async def read_samples(
    request: Request, limits: Limits, take: Callable[[int], None]
) -> tuple[list[bytes | str], list[int]]:
    """Each picture as `read_pictures` has it, and how many each sample of Flow-Factory has.

    A sample is a picture, or a video with its frames.

    Raises:
        As `read_pictures`.
    """
    most = min(PER_REQUEST, limits.queue)
    if _plain_kind(request) != "application/json":
        raise HTTPException(415, "Flow-Factory's requests are application/json; got another kind.")
    into = _Samples(most)
    return await _pictures(request, limits, take, into, most), into.counts


async def _pictures(
    request: Request, limits: Limits, take: Callable[[int], None], into: _Body, most: int
) -> list[bytes | str]:
    await _receive(request, limits, take, into)
    take(into.further())
    received = await asyncio.to_thread(into.pictures)
    _check_count(len(received), most)
    return received


class _Body(Protocol):
    copies: int

    def feed(self, part: bytes) -> None: ...

    def further(self) -> int:
        """Bytes that `pictures` takes beside the `copies`."""
        return 0

    def pictures(self) -> list[bytes | str]: ...


def _plain_kind(request: Request) -> str:
    """The body's kind, whose bytes are sent as they are, and whose length is said once."""
    headers = request.headers
    if "content-length" in headers and "transfer-encoding" in headers:
        reason = "Content-Length and Transfer-Encoding were both sent: send one of them."
        raise HTTPException(400, reason, CLOSE)
    if (coding := headers.get("content-encoding", "").strip().lower()) not in ("", "identity"):
        reason = (
            f"Content-Encoding is {shortened(coding)}; expected none: send the bytes as they are."
        )
        raise HTTPException(415, reason, {"Accept-Encoding": "identity"})
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _kind(request: Request, most: int) -> _Body:
    kind = _plain_kind(request)
    if kind == "application/json":
        return _Json(most)
    if kind == "multipart/form-data":
        return _Multipart(request.headers["content-type"], most)
    if kind.startswith("image/") or kind == "application/octet-stream":
        return _Single()
    raise HTTPException(
        415,
        f"Content-Type is {shortened(kind) or 'missing'}; expected application/json, "
        "multipart/form-data or image/….",
    )


async def _receive(
    request: Request, limits: Limits, take: Callable[[int], None], into: _Body
) -> None:
    """Hand the body to `into`, part by part, as long as it keeps coming."""
    too_large = HTTPException(413, f"The request is larger than {limits.body:,} bytes: send fewer.")
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limits.body:
        raise too_large
    received, stream = 0, request.stream()
    try:
        async with asyncio.timeout(limits.request):
            while True:
                async with asyncio.timeout(limits.idle):
                    part = await anext(stream, None)
                if part is None:
                    return
                received += len(part)
                if received > limits.body:
                    raise too_large
                take(into.copies * len(part))
                for start in range(0, len(part), CHUNK):
                    into.feed(part[start : start + CHUNK])
    except TimeoutError:
        reason = (
            f"The request did not arrive within {limits.request:g} seconds, or nothing of it did "
            f"for {limits.idle:g}."
        )
        raise HTTPException(408, reason, CLOSE) from None


def _check_count(count: int, most: int) -> None:
    if not 1 <= count <= most:
        status = 413 if count else 400
        raise HTTPException(status, f"A request holds 1 to {most} pictures; got {count}.")


class _Single(_Body):
    copies = 2

    def __init__(self) -> None:
        self._body = bytearray()

    def feed(self, part: bytes) -> None:
        self._body += part

    def pictures(self) -> list[bytes | str]:
        return [bytes(self._body)]


class _Json(_Single):
    copies = COPIES

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def further(self) -> int:
        """Text with any character beyond Latin-1 takes four bytes for each."""
        plain = self._body.isascii() and b"\\u" not in self._body
        return 0 if plain else 3 * len(self._body)

    def pictures(self) -> list[bytes | str]:
        images = self._fields('{"images": ["BASE64", …]}', ("images",))["images"]
        if not isinstance(images, list):
            raise _bad_json('{"images": ["BASE64", …]}')
        _check_count(len(images), self._most)
        return [_decoded(image) for image in images]

    def _fields(self, example: str, known: tuple[str, ...]) -> dict[str, Any]:
        """The body's fields, None where one is not there; the bytes are let go."""
        if sum(map(self._body.count, (b",", b"{", b"["))) > JSON_PARTS:
            raise HTTPException(413, f"The body is JSON of more than {JSON_PARTS:,} parts.")
        try:
            fields = json.loads(self._body, object_pairs_hook=_once)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise _bad_json(example)
        for name, value in fields.items():
            if name not in known and value is not None:
                raise HTTPException(
                    400,
                    f"The body has {shortened(name)!r}; expected {', '.join(known)}, "
                    f"such as {example}.",
                )
        self._body.clear()
        return {name: fields.get(name) for name in known}


class _Samples(_Json):
    """Flow-Factory's fields: of a quality score's interest are `image` and `video` alone."""

    EXAMPLE = '{"prompt": ["…"], "image": ["BASE64", …]}'
    KNOWN = ("prompt", "image", "video", "condition_images", "condition_videos", "kwargs")

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.counts: list[int] = []

    def pictures(self) -> list[bytes | str]:
        fields = self._fields(self.EXAMPLE, self.KNOWN)
        given = [fields[name] for name in ("image", "video") if fields[name] is not None]
        if len(given) != 1 or not isinstance(given[0], list):
            raise HTTPException(400, f"Expected image or video, such as {self.EXAMPLE}.")
        samples = [[each] for each in given[0]] if fields["video"] is None else given[0]
        if not all(isinstance(each, list) and each for each in samples):
            raise HTTPException(400, "A video is a list of its frames, one or more, in base64.")
        prompts = fields["prompt"]
        if isinstance(prompts, list) and len(prompts) != len(samples):
            reason = f"There are {len(prompts)} prompts and {len(samples)} pictures or videos."
            raise HTTPException(400, f"{reason} Expected one prompt for each.")
        self.counts = [len(each) for each in samples]
        _check_count(sum(self.counts), self._most)
        return [_decoded(frame) for sample in samples for frame in sample]


def _bad_json(example: str) -> HTTPException:
    return HTTPException(400, f"The body is not JSON such as {example}.")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of a name that is there twice, JSON would take the last without a word."""
    names = [name for name, _ in pairs]
    pictures = ("images", "bytes", "image", "video")
    if twice := [name for name in pictures if names.count(name) > 1]:
        raise HTTPException(400, f"The body names {twice[0]!r} twice in one object: name it once.")
    return dict(pairs)


def _decoded(image: Any) -> bytes | str:
    if isinstance(image, dict):  # a data set's cell; its path is somebody else's file
        image = image.get("bytes")
    if not isinstance(image, str):
        return "This is not text: a picture is its file's bytes in base64."
    try:
        return from_data_url(image) if is_data_url(image) else from_base64(image)
    except PictureError as error:
        return str(error)


class _Multipart(_Body):
    """Every part is a picture, whatever its name, and with or without the name of a file."""

    copies = 2

    def __init__(self, content_type: str, most: int) -> None:
        _, options = parse_options_header(content_type)
        if not (boundary := options.get(b"boundary")):
            raise _bad_multipart("its Content-Type names no boundary")
        self._most, self._parts, self._ended = most, list[bytearray](), False
        self._header, self._size = [bytearray(), bytearray()], 0
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_part_data": lambda data, start, end: self._add(data[start:end]),
                    "on_header_field": lambda data, start, end: self._head(0, data[start:end]),
                    "on_header_value": lambda data, start, end: self._head(1, data[start:end]),
                    "on_header_end": self._end_header,
                    "on_end": self._end,
                },
            )
        except (FormParserError, ValueError) as error:
            raise _bad_multipart(error) from error

    def feed(self, part: bytes) -> None:
        if self._ended:
            return
        try:
            self._parser.write(part)
        except (FormParserError, ValueError) as error:
            raise _bad_multipart(error) from error

    def pictures(self) -> list[bytes | str]:
        if not self._ended:
            raise _bad_multipart("it ends before its closing boundary")
        return [bytes(part) for part in self._parts]

    def _begin(self) -> None:
        self._parts.append(bytearray())
        _check_count(len(self._parts), self._most)
        self._size = 0

    def _add(self, data: bytes) -> None:
        self._parts[-1] += data

    def _head(self, place: int, data: bytes) -> None:
        self._size += len(data)
        if self._size > HEADER_BYTES:
            raise _bad_multipart(f"the headers of a part have more than {HEADER_BYTES} bytes")
        self._header[place] += data

    def _end_header(self) -> None:
        name, value = (bytes(each).strip().lower() for each in self._header)
        self._header = [bytearray(), bytearray()]
        plain = {
            b"content-transfer-encoding": (b"binary", b"8bit", b"7bit"),
            b"content-encoding": (b"identity",),
        }
        if value not in plain.get(name, (value,)):
            shown = f"{name.decode('latin-1')}: {value.decode('latin-1')}"
            raise _bad_multipart(f"part {len(self._parts)} has {shortened(shown)}, not plain bytes")

    def _end(self) -> None:
        self._ended = True


def _bad_multipart(reason: object) -> HTTPException:
    text = shortened(reason).rstrip(".")
    return HTTPException(400, f"The body is not multipart/form-data: {text}.")
