"""What a file itself says about damage that its decoder passes over in silence.

In: a file's bytes and the picture that Pillow decoded from them. Out: nothing, or a
`PictureError`. JPEG, PNG, WebP, HEIC and AVIF are looked at; docs/score.md says what is found.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from rali.errors import PictureError

from .heif_items import item_data
from .jpeg_scans import END, MARKER, SCAN, segments

_HOLE = b"\0" * 64  # more than one whole block of the smallest codes, three times over
_UNESCAPED = b"\0" * 8  # HEVC allows two zeros in a row, and a length of four bytes before them
_FILL = bytes(range(1, 255)) * 32  # entropy-coded data of no meaning, without markers
_END = b"\xff\xd9"
_HUFFMAN = 0xC4
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ZEROED = "The picture is damaged: a part of its data has been replaced by zeros."
_CUT = "The file is truncated: a part of the picture is missing."


def is_checked(head: bytes) -> bool:
    """Whether a file with this beginning is one that `check_whole` looks into."""
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"RIFF")) or head[4:8] == b"ftyp"


def completed(file: bytes) -> bytes:
    """A JPEG's bytes, with the end marker where only that is missing; other files unchanged."""
    if file[:3] == b"\xff\xd8\xff" and all(code != END for code, _, _ in segments(file)):
        return file + _END
    return file


def check_whole(file: bytes, image: Image.Image) -> None:
    """Refuse a picture whose file shows that a part of it is missing.

    Args:
        file: its bytes.
        image: what Pillow decoded from them.

    Raises:
        PictureError: a part is missing, zeroed, or has another checksum than the file says.
    """
    if image.format in ("JPEG", "MPO"):
        _check_jpeg(file, image)
    elif image.format == "PNG":
        _check_png(file, image)
    elif image.format == "WEBP":
        if any(_long_hole(image) in data for data in _webp_data(file)):
            raise PictureError(_ZEROED)
    elif image.format == "HEIF":
        if any(_UNESCAPED in data for data in item_data(file, b"hvc1")):
            raise PictureError(_ZEROED)
    elif image.format == "AVIF" and any(
        _long_hole(image) in data for data in item_data(file, b"av01")
    ):
        raise PictureError(_ZEROED)


def _check_jpeg(file: bytes, image: Image.Image) -> None:
    first: dict[int, int] = {}  # by class and place of a Huffman table: what a run of zeros means
    lowest: dict[tuple[int, int], int] = {}  # by component and frequency: bits still to come
    parts: list[bytes] = []
    frame, kept, zeroed, ended = 0, 0, False, False
    for code, body, end in segments(file):
        ended |= code == END
        if code in (*_SEQUENTIAL, _PROGRESSIVE) and len(body) > 5:
            frame = code
            if code == _PROGRESSIVE:
                lowest = {(c, k): 99 for c in body[6::3] for k in range(64)}
        elif code == _HUFFMAN:
            while len(body) > 17:
                first[body[0]], body = body[17], body[17 + sum(body[1:17]) :]
        elif code == SCAN and body and len(body) >= 4 + 2 * body[0]:
            parts.append(file[kept:end])
            found = MARKER.search(file, end)
            kept = found.start() if found else len(file)
            data = file[end:kept]
            count = body[0]
            low, high, bits = body[-3:]
            for c in body[1 : 1 + 2 * count : 2]:
                lowest.update({(c, k): bits & 15 for k in range(low, high + 1) if (c, k) in lowest})
            tables = body[2 : 2 + 2 * count : 2]
            if frame and bits >> 4 == 0 and _HOLE in data:
                zeroed |= _zeros_mean_nothing(frame, low, tables, first)
            parts += [data, _FILL]
    if zeroed:
        raise PictureError(_ZEROED)
    if any(lowest.values()):
        raise PictureError(_CUT)
    if frame and (not ended or frame == _PROGRESSIVE or _last_block_is_empty(image)):
        with Image.open(io.BytesIO(b"".join(parts) + _END), formats=("JPEG",)) as other:
            other.draft(image.mode, image.size)
            if other.size != image.size or not np.array_equal(np.asarray(other), np.asarray(image)):
                raise PictureError(_CUT)  # what follows a picture's last block does not change it


def _zeros_mean_nothing(frame: int, low: int, tables: bytes, first: dict[int, int]) -> bool:
    """Whether bits of zeros fill whole blocks with equal waves, instead of ending them at once."""
    if frame == _PROGRESSIVE and low == 0:
        return False  # steps of brightness, which a gradient may have
    return any(first.get(16 | t & 15, 0) & 15 for t in tables)


def _last_block_is_empty(image: Image.Image) -> bool:
    """Whether the last 8 × 8 pixels are the grey that libjpeg gives for missing data."""
    width, height = image.size
    last = np.asarray(image)[(height - 1) // 8 * 8 :, (width - 1) // 8 * 8 :]
    return bool((last == last[:1, :1]).all())


def _check_png(file: bytes, image: Image.Image) -> None:
    data: list[bytes] = []
    place = 8
    while len(file) >= place + 12:
        length = int.from_bytes(file[place : place + 4], "big")
        name, body = file[place + 4 : place + 8], file[place + 8 : place + 8 + length]
        place += length + 12
        if name == b"IDAT":
            check = int.from_bytes(file[place - 4 : place], "big")
            if place <= len(file) and zlib.crc32(name + body) != check:
                raise PictureError("The picture is damaged: its checksum is another.")
            data.append(body)
    if np.asarray(image)[-2:].any(axis=tuple(range(1, np.asarray(image).ndim))).all():
        return  # a row that is missing is zeros
    bits, colour, _, _, interlaced = file[24:29]
    bits *= _SAMPLES.get(colour, 1)
    width, height = image.size
    passes = (*_PASSES, (0, 1, 1, 2)) if interlaced else ((0, 0, 1, 1),)
    expected = 0
    for left, top, across, down in passes:
        columns, rows = -((left - width) // across), -((top - height) // down)
        expected += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
    stream, got = zlib.decompressobj(), 0
    rest = b"".join(data)
    while rest and got < expected and not stream.eof:
        made = len(stream.decompress(rest, 1 << 20))
        got, rest = got + made, stream.unconsumed_tail
    if got < expected:
        raise PictureError(_CUT)


def _long_hole(image: Image.Image) -> bytes:
    """More zeros than an arithmetic coder writes: one in 10,000 pixels if the picture is flat."""
    return bytes(max(256, image.width * image.height // 2048))


def _webp_data(file: bytes) -> Iterator[bytes]:
    """The compressed pixels in a lossy WebP; in a lossless one, zeros may be flat pixels."""
    place = 12
    while len(file) >= place + 8:
        length = int.from_bytes(file[place + 4 : place + 8], "little")
        if file[place : place + 4] == b"VP8 ":
            yield file[place + 8 : place + 8 + length]
        place += 8 + length + length % 2
