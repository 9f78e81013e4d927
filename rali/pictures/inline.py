"""Pictures inside text and tables: base64, data URLs (RFC 2397) and a data set's image cells."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from rali.errors import PictureError

_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def is_data_url(source: Any) -> bool:
    """Whether this is text that begins with `data:`, in any case."""
    return isinstance(source, str) and source[:64].lstrip()[:5].lower() == "data:"


def from_data_url(url: str) -> bytes:
    """The bytes that a data URL holds, in base64 or percent-encoded.

    Raises:
        PictureError: it has no comma, or what should be base64 is not.
    """
    head, comma, data = url.strip()[5:].partition(",")
    if not comma:
        raise PictureError("This data URL has no comma before its data.")
    held = unquote_to_bytes(data.partition("#")[0])
    if head.rpartition(";")[2].strip().lower() == "base64":
        return from_base64(held)
    return held


def from_base64(text: str | bytes) -> bytes:
    """The bytes of base64 in either alphabet (RFC 4648), with or without padding and white space.

    Raises:
        PictureError: this is not base64.
    """
    try:
        raw = text.encode("ascii") if isinstance(text, str) else text
        raw = b"".join(raw.split()).translate(_URL_SAFE)
        if b"=" not in raw:
            raw += b"=" * (-len(raw) % 4)
        return base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError):
        raise PictureError("This is not base64: a picture is its file's bytes in base64.") from None


def from_cell(cell: Mapping[str, Any]) -> Any:
    """The picture in a data set's image cell, `{"bytes": …, "path": …}`: its bytes or its path.

    Raises:
        PictureError: the cell holds neither.
    """
    for key in ("bytes", "path"):
        if (held := cell.get(key)) is not None:
            return held
    raise PictureError('This cell holds no picture: expected {"bytes": …} or {"path": …}.')
