"""Pictures that lie inside a file, named by a path as if it were a folder.

In: `shards/0.tar/a.jpg`, `photos.zip/a.jpg` or `train.parquet#17`, the keys of `rali score`, as
manifests and triplets hold them. Out: the picture's bytes, read where they lie. A container's
directory is read once by each process, so that pictures may be read in any order.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from rali.errors import InputError, PictureError, RaliError
from rali.files import image_sha256

from .entry import Entry, Unreadable
from .listed import Table, picture_columns
from .paths import path_in, path_text
from .remote import stamp
from .tars import SUFFIXES, Tar, TarMember
from .zips import Zip

ARCHIVES = (".zip", *SUFFIXES)


def container_of(path: str | Path) -> str | None:
    """The absolute path of the archive or the Parquet file that a picture's path leads into."""
    full = os.path.abspath(path)  # noqa: PTH100
    if table := table_of(full):
        return table
    place = os.path.dirname(full)  # noqa: PTH120
    while place != os.path.dirname(place):  # noqa: PTH120
        if place.lower().endswith(ARCHIVES) and os.path.isfile(place):  # noqa: PTH113
            return place
        place = os.path.dirname(place)  # noqa: PTH120
    return None


def table_of(path: str) -> str | None:
    """The Parquet file, if it is there, of a path such as `train.parquet#17`."""
    table, mark, row = path.rpartition("#")
    named = mark and table.lower().endswith(".parquet") and row.isdecimal()
    return table if named and os.path.isfile(table) else None  # noqa: PTH113


def is_ambiguous(path: str | Path) -> bool:
    """Whether the path names a row of a table that holds pictures in several columns."""
    table = table_of(os.path.abspath(path))  # noqa: PTH100
    return table is not None and len(_columns(table, stamp(table))) > 1


def picture_inside(path: str | Path, column: str | None = None) -> Any:
    """What reads the picture (`read()` gives its bytes); None where no container is on the way.

    Args:
        column: of a table; by default the first of the usual names.
    """
    if (place := container_of(path)) is None:
        return None
    found = _pictures(place, stamp(place), column)
    name = os.path.abspath(path)  # noqa: PTH100
    missing = Unreadable(f"{place} holds no picture of this name.")
    picture = found.get(name) or found.get(place) or missing  # damage is under its own name
    if isinstance(picture, TarMember) and picture.packed:
        return Unreadable(
            f"{place} is packed as a whole, and its pictures can only be read in order: unpack it "
            "to a plain .tar, with `gunzip`, `bunzip2` or `unxz`."
        )
    return picture


def is_there(path: Path) -> bool:
    """Whether a picture's path is a file, or leads to a picture inside one."""
    if path.is_file():
        return True
    inside = picture_inside(path)
    return inside is not None and not isinstance(inside, Unreadable)


def picture_bytes(path: Path) -> bytes:
    """The bytes of a picture's file, or of the picture inside a file.

    Raises:
        PictureError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        if (inside := picture_inside(path)) is None:
            raise PictureError(f"It cannot be read: {error.strerror or error}.") from error
        return inside.read()


def picture_sha256(path: Path) -> str:
    """SHA-256 of a picture's bytes, in hexadecimal.

    Raises:
        InputError: it cannot be read; it is named.
    """
    if path.is_file() or container_of(path) is None:
        return image_sha256(path)
    try:
        return hashlib.sha256(picture_bytes(path)).hexdigest()
    except PictureError as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def picture_marks(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Path, and size and time of change of the file: they differ where a file was changed."""
    held = ((path, path if path.is_file() else Path(container_of(path) or path)) for path in paths)
    stats = [(path, file.stat()) for path, file in held]
    return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats]


@cache  # of every container: to read a directory again for each picture would take for ever
def _pictures(place: str, changed: tuple[int, int], column: str | None) -> dict[str, Any]:
    """What reads each picture of a container, by its path; one of `place` itself says of damage."""
    found: dict[str, Any] = {}
    try:
        for entry in _entries(place, column):
            name = place if entry.key == path_text(place) else os.path.normpath(path_in(entry.key))
            found.setdefault(name, entry.picture)
    except RaliError as error:
        found[place] = Unreadable(str(error))
    return found


@cache
def _columns(table: str, changed: tuple[int, int]) -> list[str]:
    try:
        return picture_columns(table)
    except (RaliError, OSError, ValueError):  # opening a picture tells why
        return []


def _entries(place: str, column: str | None) -> Iterable[Entry]:
    if place.lower().endswith(".parquet"):
        return Table(place, place, column)
    return Zip(place, place) if place.lower().endswith(".zip") else Tar(place, place)
