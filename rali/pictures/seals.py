"""Whether a table still holds what it held, so that a row's number still means the same picture.

In: a picture whose key is the number of its row. Out: the seal of the table that it lies in: the
size of its file, and a hash of samples and of the end, where Parquet keeps where each row lies. No
picture is read for it. Rows of equal length that changed places between two samples are not seen.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .hugging_face import DataSetCell, files_of
from .listed import JsonCell, ParquetCell, UrlCell
from .remote import file_system, is_address
from .tries import retried

SAMPLES = 16
_SAMPLE = 4096  # bytes
_END = 1 << 16  # bytes
# What a store calls a hash of a file; last those that may also change with what it notes beside it.
_TAGS = ("Content-MD5", "md5Hash", "blob_id", "crc32c", "ETag", "etag")


@dataclass(frozen=True)
class Seal:
    """What a table's files held.

    Attributes:
        size: their bytes.
        sha256: of samples; of an address, what its store says of its content, or "".
    """

    size: int
    sha256: str


def is_numbered(picture: Any) -> bool:
    """Whether an entry's picture lies in a table, and its key is the number of its row."""
    return isinstance(picture, ParquetCell | JsonCell | UrlCell | DataSetCell)


def seal_of(picture: Any, size: int | None = None) -> Seal | None:
    """The seal of the table that a numbered picture lies in; None where it cannot be told.

    Args:
        size: of a table that may have grown: as if it ended after so many bytes.
    """
    try:
        if isinstance(picture, DataSetCell):
            return _of_files(files_of(picture.place, picture.split))
        if is_address(picture.place):
            return _of_address(picture.place)
        return _of_file(picture.place, size)
    except Exception:  # each driver has errors of its own; opening the pictures tells why
        return None


def grows(picture: Any) -> bool:
    """Whether rows may be added at the end of the picture's table, and the others keep theirs."""
    return not isinstance(picture, DataSetCell) and not (
        is_address(picture.place) or picture.place.lower().endswith(".parquet")
    )


def _of_file(path: str, size: int | None = None) -> Seal:
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size if size is None else size
        starts = [size * number // SAMPLES for number in range(SAMPLES)]
        for start, most in [*((start, _SAMPLE) for start in starts), (max(0, size - _END), _END)]:
            file.seek(start)
            digest.update(file.read(min(most, size - start)))
    return Seal(size, digest.hexdigest())


def _of_files(paths: list[str]) -> Seal | None:
    found = [_of_file(path) for path in paths]
    digest = hashlib.sha256("".join(each.sha256 for each in found).encode()).hexdigest()
    return Seal(sum(each.size for each in found), digest) if found else None


def _of_address(address: str) -> Seal:
    system, path = file_system(address)
    known = retried(lambda: system.info(path))
    tag = next((str(known[name]) for name in _TAGS if known.get(name)), "")
    return Seal(int(known.get("size") or 0), tag)
