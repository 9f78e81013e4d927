"""Paths as text in tables: one spelling that every reader can store, and the way back.

A path that is not text is stored as `file:` and its bytes, percent-encoded, so that the table is
text for every reader: `file:caf%E9.jpg`. One that a spreadsheet would take for a formula gets a
folder, as in `./=1.jpg`.
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

_BYTES = "file:"  # begins a path whose bytes are percent-encoded
_FORMULA = ("=", "+", "-", "@")
# Bytes of a file's name that are not UTF-8, as Python reads them, and what would end a CSV's row.
_NO_TEXT = re.compile("[\udc80-\udcff\r]")


def absolute(path: str | Path, folder: Path) -> Path:
    """A path in `folder`, made absolute (links are not followed)."""
    # On strings: pathlib takes a minute over a million rows. Path.resolve would follow links.
    return Path(os.path.abspath(os.path.join(folder, path)))  # noqa: PTH100, PTH118


def resolve_path(text: str, folder: Path) -> Path:
    """A path as a table in `folder` stores it, made absolute (links are not followed)."""
    return absolute(path_in(text), folder)


def find_path(text: str, folder: Path) -> Path:
    """`resolve_path`, in the spelling that is on disk where the file is not there as written.

    Spellings are outer blanks, and letters composed or not: macOS writes ä as two characters.
    """
    path = resolve_path(text, folder)
    if (text.isascii() and text == text.strip()) or os.path.isfile(path):  # noqa: PTH113
        return path
    place = resolve_path("", folder)
    for part in Path(os.path.relpath(resolve_path(text.strip(), folder), place)).parts:
        spellings = [part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD"))]
        there = [place / name for name in spellings if os.path.lexists(place / name)]
        if not there:
            return path
        place = there[0]
    return Path(os.path.normpath(place))


def path_text(path: str | Path) -> str:
    """A path as a table's cell holds it; `path_in` reads it back."""
    path = str(path)
    if path != as_text(path) or path.startswith(_BYTES):
        return _BYTES + quote_from_bytes(os.fsencode(path))
    return f"./{path}" if path.startswith(_FORMULA) else path


def path_in(text: str) -> str:
    """The path that a table's cell holds."""
    if text.startswith(_BYTES):
        return os.fsdecode(unquote_to_bytes(text.removeprefix(_BYTES)))
    return text


def as_text(name: str) -> str:
    """A file's name as text: bytes that are not UTF-8 are written as %E9, a carriage return %0D."""
    return _NO_TEXT.sub(lambda found: f"%{ord(found[0]) & 0xFF:02X}", name)
