"""Pictures as data URLs, for a teacher behind a server.

A JPEG or PNG file goes as it is where every reader sees the same pixels in it; anything else (a
rotated photograph, a wide-gamut one, a HEIC) goes as a PNG of what rali sees.
"""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

from rali.pictures.inside import picture_bytes

from .models import opened


def token_side(model: str) -> int:
    """Pixels of a visual token's side: sides that are multiples of it are not resized again.

    It is 32 for Qwen3-VL, by the model's name, and Qwen2.5-VL's 28 for any other.
    """
    return 32 if "qwen3" in model.lower() else 28


def data_url(
    path: Path, min_pixels: int | None = None, max_pixels: int | None = None, side: int = 28
) -> str:
    """A file as a data URL (RFC 2397).

    Args:
        min_pixels, max_pixels: a picture outside them is resized, as Qwen2.5-VL's processor does;
            None leaves it to the server.
        side: see `token_side`.

    Raises:
        PictureError: the file cannot be read, or is too long and thin; it is named.
    """
    picture = opened(path)
    size = bounded(*picture.size, min_pixels, max_pixels, side)
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    elif kind := _plain(path, picture):
        return _url(kind, picture_bytes(path))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return _url("png", buffer.getvalue())


def bounded(
    width: int, height: int, min_pixels: int | None, max_pixels: int | None, side: int = 28
) -> tuple[int, int]:
    """Width and height after a teacher's resize; the same where the bounds hold already."""
    fewest, most = min_pixels or 0, max_pixels or math.inf
    if fewest <= width * height <= most:
        return width, height
    bound, rounded = (most, math.floor) if width * height > most else (fewest, math.ceil)
    scale = math.sqrt(bound / (width * height))
    across, down = (max(1, rounded(each * scale / side)) * side for each in (width, height))
    return across, down


def _plain(path: Path, seen: Image.Image) -> str:
    """`jpeg` or `png` where a reader that knows no colour profile or rotation sees the same."""
    try:
        with Image.open(io.BytesIO(picture_bytes(path))) as raw:
            kind = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png"}.get(raw.format or "", "")
            turned = raw.getexif().get(0x0112, 1) != 1
            if not kind or turned or raw.mode not in ("RGB", "L"):
                return ""
            same = np.array_equal(np.asarray(raw.convert("RGB")), np.asarray(seen))
            return kind if same else ""
    except Exception:  # rali read it; another reader might stumble as this one does
        return ""


def _url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
