"""The file under a picture that Pillow has opened and not decoded yet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image


@contextlib.contextmanager
def rewound(image: Image.Image) -> Iterator[BinaryIO | None]:
    """The picture's file at its beginning, or None without one; its position is kept."""
    file: BinaryIO | None = getattr(image, "fp", None)
    if file is None or getattr(file, "closed", False):
        yield None
        return
    place = file.tell()
    file.seek(0)
    try:
        yield file
    finally:
        file.seek(place)


def first_bytes(image: Image.Image, count: int = -1) -> bytes:
    """The first bytes of the picture's file, all by default; b"" without a file."""
    with rewound(image) as file:
        return b"" if file is None else file.read(count)
