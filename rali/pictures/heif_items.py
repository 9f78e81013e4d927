"""The coded pictures inside a HEIC or AVIF file: ISO 14496-12's `iinf` and `iloc` boxes."""

from __future__ import annotations

from collections.abc import Iterator


def item_data(file: bytes, kind: bytes) -> list[bytes]:
    """The bytes of each extent of the items of one kind, `hvc1` or `av01`; none where unclear."""
    meta = next((body for name, body in _boxes(file) if name == b"meta"), b"")[4:]
    boxes = dict(_boxes(meta))
    wanted = set(_items(boxes.get(b"iinf", b""), kind))
    return list(_extents(file, boxes.get(b"iloc", b""), wanted))


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while len(data) >= place + 8:
        length, head = int.from_bytes(data[place : place + 4], "big"), 8
        if length == 1:
            length, head = int.from_bytes(data[place + 8 : place + 16], "big"), 16
        length = length or len(data) - place
        if length < head:
            return
        yield data[place + 4 : place + 8], data[place + head : place + length]
        place += length


def _items(iinf: bytes, kind: bytes) -> Iterator[int]:
    for name, body in _boxes(iinf[6 if iinf[:1] == b"\0" else 8 :]):
        wide = 4 if body[:1] == b"\3" else 2
        if name == b"infe" and body[:1] in (b"\2", b"\3") and body[6 + wide : 10 + wide] == kind:
            yield int.from_bytes(body[4 : 4 + wide], "big")


def _extents(file: bytes, iloc: bytes, wanted: set[int]) -> Iterator[bytes]:
    place = 4

    def number(size: int) -> int:
        nonlocal place
        place += size
        if place > len(iloc):
            return 0
        return int.from_bytes(iloc[place - size : place], "big")

    version = iloc[0] if iloc else 9
    if version > 2:
        return
    sizes = number(2)
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    for _ in range(number(4 if version == 2 else 2)):
        if place >= len(iloc):
            return
        item = number(4 if version == 2 else 2)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(base_size)
        for _ in range(number(2)):
            number(index_size)
            start = base + number(offset_size)
            length = number(length_size)
            if method == 0 and item in wanted and length:
                yield file[start : start + length]
