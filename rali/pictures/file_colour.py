"""What a file says about its colours and Pillow does not pass on.

In: an opened file and Pillow's picture of it. Out: an ICC profile or a `Space`: from the `colr`
boxes of JPEG 2000, AVIF and HEIC, from PNG's `cICP`, `gAMA` and `cHRM`, from a BMP's header.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from PIL import Image

from .cicp import PRIMARIES, Space, space_of
from .opened import rewound

_Boxes = Iterator[tuple[bytes, bytes]]
_MOST = 1 << 24  # bytes of a header or a profile that are read


def colour_of(image: Image.Image) -> bytes | Space | None:
    """The picture's ICC profile, else its `Space`, else None for sRGB.

    The picture is not decoded yet. A damaged header counts as none.
    """
    found, read = None, _READERS.get(image.format or "")
    with rewound(image) as file:
        if read and file is not None:
            with contextlib.suppress(struct.error, LookupError, ValueError, OSError):
                found = read(file, image)
        elif image.format == "PNG":
            found = _png_gamma(image)
    if image.format == "PNG" and isinstance(found, tuple):  # cICP is above every other chunk
        return space_of(*found)
    return image.info.get("icc_profile") or found


def _png(file: BinaryIO, image: Image.Image) -> Any:
    """The two codes of `cICP`, else what `gAMA` and `cHRM` say."""
    file.seek(8)
    while len(head := file.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
        size = struct.unpack(">I", head[:4])[0]
        if head[4:] == b"cICP" and size >= 4:
            return tuple(file.read(2))
        file.seek(size + 4, 1)
    return _png_gamma(image)


def _png_gamma(image: Image.Image) -> Space | None:
    """As browsers do: `cHRM` counts with `gAMA` only, and `sRGB` is above both."""
    gamma, corners = image.info.get("gamma"), image.info.get("chromaticity")
    if "srgb" in image.info or not gamma:
        return None
    usual = abs(gamma - 1 / 2.2) < 0.01 and not corners  # 1/2.2 stands for sRGB's curve
    if usual or not 0.05 < gamma < 20:
        return None
    return Space(_near(corners or PRIMARIES[1]), 1 / gamma)


def _near(corners: tuple[float, ...]) -> tuple[float, ...]:
    """The standard's numbers, where a file rounds them."""
    for known in PRIMARIES.values():
        if max(abs(a - b) for a, b in zip(corners, known, strict=True)) < 0.0015:
            return known
    return corners


def _bmp(file: BinaryIO, image: Image.Image) -> bytes | Space | None:
    """An embedded profile (version 5) or the primaries and gamma of a version 4 header."""
    head = file.read(14 + 124)
    size, kind = struct.unpack_from("<I", head, 14)[0], head[14 + 56 : 14 + 60]
    if size >= 124 and kind == b"DEBM":  # "MBED", little-endian
        start, length = struct.unpack_from("<II", head, 14 + 112)
        file.seek(14 + start)
        return file.read(min(length, _MOST))
    if size >= 108 and kind == b"\0\0\0\0":
        xyz = [v / 2**30 for v in struct.unpack_from("<9i", head, 14 + 60)]
        gammas = [v / 2**16 for v in struct.unpack_from("<3I", head, 14 + 96)]
        sums = [sum(xyz[i : i + 3]) for i in (0, 3, 6)]
        if min(sums) > 0 and min(gammas) > 0.1 and max(gammas) < 10:
            white = [sum(xyz[i::3]) for i in range(3)]
            corners = [(white[0] / sum(white), white[1] / sum(white))]
            corners += [(xyz[3 * i] / sums[i], xyz[3 * i + 1] / sums[i]) for i in range(3)]
            return Space(_near(tuple(v for pair in corners for v in pair)), sum(gammas) / 3)
    return None


def _jp2(file: BinaryIO, image: Image.Image) -> bytes | Space | None:
    for kind, body in _boxes(_read_box(file, b"jp2h")):
        if kind == b"colr" and body[0] in (2, 3):
            return body[3:]
        if kind == b"colr" and body[0] == 5:
            return space_of(*struct.unpack_from(">HH", body, 3))
    return None


def _heif(file: BinaryIO, image: Image.Image) -> bytes | Space | None:
    """The `colr` properties of the primary item, else of any."""
    items: dict[bytes, bytes] = dict(_boxes(_read_box(file, b"meta")[4:]))
    parts = list(_boxes(items[b"iprp"]))
    properties = list(_boxes(dict(parts)[b"ipco"]))
    wide = items[b"pitm"][0] > 0
    primary = int.from_bytes(items[b"pitm"][4 : 8 if wide else 6], "big")
    used = [i for kind, body in parts if kind == b"ipma" for i in _properties_of(primary, body)]
    own = [properties[i - 1] for i in used if 0 < i <= len(properties)]
    for some in (own, properties):
        colours = [body for kind, body in some if kind == b"colr"]
        for body in colours:
            if body[:4] in (b"prof", b"rICC"):
                return body[4:]
        for body in colours:
            if body[:4] == b"nclx":
                primaries, transfer = struct.unpack_from(">HH", body, 4)
                # In still pictures BT.709's curve and its kin stand for sRGB's, as in Chromium.
                return space_of(primaries, 13 if transfer in (1, 6, 11, 12, 14, 15) else transfer)
    return None


def _properties_of(item: int, body: bytes) -> list[int]:
    """The numbers of an item's properties in an `ipma` box, from 1."""
    long_id, long_index = body[0] > 0, body[3] & 1
    count, place = int.from_bytes(body[4:8], "big"), 8
    for _ in range(count):
        size = 4 if long_id else 2
        name, place = int.from_bytes(body[place : place + size], "big"), place + size
        number, place = body[place], place + 1
        step = 2 if long_index else 1
        found = [
            int.from_bytes(body[place + i * step : place + (i + 1) * step], "big")
            & (0x7FFF if long_index else 0x7F)
            for i in range(number)
        ]
        if name == item:
            return found
        place += number * step
    return []


def _boxes(data: bytes) -> _Boxes:
    """The boxes of ISO 14496-12 in `data`: (type, body)."""
    place = 0
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, place + 8)[0], 16
        size = size or len(data) - place
        if size < head:
            return
        yield kind, data[place + head : place + size]
        place += size


def _read_box(file: BinaryIO, wanted: bytes) -> bytes:
    """The body of the first box of this type at the file's top level, else nothing."""
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        left = size - 8
        if size == 1:
            left = struct.unpack(">Q", file.read(8))[0] - 16
        if kind == wanted:
            return file.read(min(left, _MOST) if size else _MOST)
        if left < 0:
            break
        file.seek(left, 1)
    return b""


_READERS = {
    **dict.fromkeys(("AVIF", "HEIF"), _heif),
    **{"JPEG2000": _jp2, "PNG": _png, "BMP": _bmp, "DIB": _bmp},
}
