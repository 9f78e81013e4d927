"""The segments of a JPEG, and a bound on its scans: each costs a pass over all its pixels."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rali.errors import PictureError

MAX_SCANS = 100  # libtiff's bound too; encoders write 1 to 20
MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")  # those that begin a segment or end a file
SCAN, END = 0xDA, 0xD9


def segments(file: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Code, content and end of a JPEG's segments, to the first picture's end; that one included."""
    place = 2
    while found := MARKER.search(file, place):
        code, place = found[1][0], found.end()
        if code == END:
            yield code, b"", found.start()
            return
        length = int.from_bytes(file[place : place + 2], "big")
        yield code, file[place + 2 : place + length], place + length
        place += max(2, length)


def check_scans(file: bytes) -> None:
    """Refuse a JPEG whose first picture has more than `MAX_SCANS` scans.

    Raises:
        PictureError: it has.
    """
    if file.count(b"\xff\xda") <= MAX_SCANS:
        return
    scans = 0
    for code, _, _ in segments(file):
        scans += code == SCAN
        if scans > MAX_SCANS:
            raise PictureError(
                f"This JPEG has more than {MAX_SCANS} scans, which takes minutes to decode and no "
                "camera or program writes: save it anew."
            )
