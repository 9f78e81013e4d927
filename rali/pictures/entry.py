"""One picture of a source: a key that names it, and what `open_picture` opens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rali.errors import PictureError


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture of a source; small, so that it can be sent to the process that opens it.

    Attributes:
        key: names the picture in the output; unique within its source and the same in each run.
        picture: what `open_picture` takes: a path, or an object that reads its bytes when opened.
    """

    key: str
    picture: Any


def key_of(picture: Any) -> Any:
    """What names a picture in an output: an entry's key, a path's text, anything else itself."""
    if isinstance(picture, Entry):
        return picture.key
    return str(picture) if isinstance(picture, Path) else picture


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In place of a picture that a source names and does not hold; opening it tells why."""

    reason: str

    def read(self) -> bytes:
        raise PictureError(self.reason)
