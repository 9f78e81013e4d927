"""A bound on the scans of a JPEG: each costs a pass over all pixels, whatever little it holds."""

from __future__ import annotations

import re

from rali.errors import PictureError

MAX_SCANS = 100  # libtiff's bound too; encoders write 1 to 20
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")  # those that begin a segment or end a file
_START, _END = 0xDA, 0xD9


def check_scans(file: bytes) -> None:
    """Refuse a JPEG whose first picture has more than `MAX_SCANS` scans.

    Raises:
        PictureError: it has.
    """
    if file.count(b"\xff\xda") <= MAX_SCANS:
        return
    scans, place = 0, 2
    while (found := _MARKER.search(file, place)) and found[1][0] != _END:
        scans += found[1][0] == _START
        if scans > MAX_SCANS:
            raise PictureError(
                f"This JPEG has more than {MAX_SCANS} scans, which takes minutes to decode and no "
                "camera or program writes: save it anew."
            )
        place = found.end()
        place += int.from_bytes(file[place : place + 2], "big")
