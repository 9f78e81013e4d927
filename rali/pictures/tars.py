"""Tar archives, as webdataset writes them: members that are pictures, read where they lie.

In: `shard.tar` (or packed: `.tar.gz`, `.tgz`, `.tar.bz2`, `.tar.xz`). Out: entries with the key
`shard.tar/member.jpg`. Nothing is extracted: a member's name is only a name. In a plain archive any
member is read by its offset, and at an address in one answer for as long as they are read in order;
a packed one is unpacked in order by each process that reads it.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rali.errors import InputError, PictureError, RaliError, shortened

from .entry import Entry, Unreadable
from .folders import is_picture_name, is_visible
from .forward import Forward
from .paths import path_text
from .remote import MAX_BYTES, is_address, opened, read_range, too_large
from .seen import Seen
from .streamed import streamed, walked
from .tries import RemoteError, reason

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_PACKED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_LONG = (b"x", b"g", b"X", b"L", b"K")  # headers whose text precedes the member's own
_FAULTS = (
    *(tarfile.TarError, OSError, EOFError, ValueError, RecursionError, OverflowError),
    *(zlib.error, lzma.LZMAError, RaliError),
)


class _Header(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: Any, encoding: Any, errors: Any) -> Any:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _LONG and header.size > 2**20):
            raise tarfile.HeaderError(f"a header says that it has {header.size:,} bytes")
        return header


@dataclass(frozen=True)
class Tar:
    """The pictures of a tar archive; where it is damaged, the last entry says so."""

    place: str
    key: str
    count: Any = None  # it has no directory: counting would be a pass over it
    wanted: Callable[[str], bool] = is_picture_name  # by a member's name

    def __iter__(self) -> Iterator[Entry]:
        """Raises InputError: it lies at an address and cannot be fetched to its end."""
        offset, seen = 0, Seen()
        try:
            with walked(self.place) if is_address(self.place) else opened(self.place) as raw:
                unpack = _opener(raw)
                for member in _members(raw, unpack):
                    offset = member.offset
                    if not (self.wanted(member.name) and is_visible(member.name)):
                        continue
                    if member.isdir():
                        continue
                    key = path_text(f"{self.key}/{member.name}")
                    if not seen.add(key):  # a later version of the member
                        key = f"{key}@{offset}"
                    yield Entry(key, self._picture(member, packed=unpack is not None))
        except RemoteError as error:
            behind = f" behind byte {offset:,}" if offset else ""
            raise InputError(f"The archive {self.key} cannot be read{behind}: {error}") from error
        except _FAULTS as error:
            text = reason(error) if isinstance(error, OSError) and error.errno else shortened(error)
            yield Entry(
                path_text(self.key),
                Unreadable(
                    f"The archive {self.key} is damaged behind byte {offset:,}, and what follows "
                    f"is not scored: {text.rstrip('.')}."
                ),
            )

    def _picture(self, member: tarfile.TarInfo, packed: bool) -> TarMember | Unreadable:
        if member.islnk() or member.issym():
            return Unreadable(f"This is a link to {member.linkname}, and links are not followed.")
        if not member.isreg() or member.sparse is not None:
            return Unreadable("This is a special file of the archive, not a picture.")
        return TarMember(self.place, member.name, member.offset_data, member.size, packed)


@dataclass(frozen=True, slots=True)
class TarMember:
    """A picture inside a tar archive: where it begins and how many bytes it has."""

    place: str
    name: str
    start: int
    size: int
    packed: bool

    def read(self) -> bytes:
        if self.size > MAX_BYTES:
            raise too_large(self.size)
        try:
            if self.packed:
                pieces = _unpacked(os.getpid(), self.place)
                data = b"".join(pieces.slices(self.start, self.start + self.size))
            elif is_address(self.place):
                data = streamed(self.place).read(self.start, self.size)
            else:
                data = read_range(self.place, self.start, self.size)
        except _FAULTS as error:
            text = shortened(error).rstrip(".")
            raise PictureError(f"The archive cannot be read here: {text}.") from error
        if len(data) < self.size:
            raise PictureError("The archive ends inside this picture.")
        return data


def _opener(raw: Any) -> Any:
    """What unpacks a file that has just been opened; None for a plain archive."""
    head = raw.read(6)
    raw.seek(0)
    return next((opener for magic, opener in _PACKED.items() if head.startswith(magic)), None)


@lru_cache(maxsize=4)
def _unpacked(process: int, place: str) -> Forward:
    """A packed archive as this process reads it (a fork must not share its file)."""

    def pieces() -> Iterator[bytes]:
        with opened(place) as raw, _opener(raw)(raw) as file:
            while piece := file.read(1 << 18):
                yield piece

    return Forward(pieces, len)


def _members(raw: Any, unpack: Any) -> Iterator[tarfile.TarInfo]:
    """The headers of an archive, with nothing kept.

    Raises:
        TarError, OSError, EOFError, …: it is damaged, or ends too early.
    """
    file = unpack(raw) if unpack else raw
    end = None if unpack else _end(raw)
    file.seek(0)
    tar = tarfile.TarFile(fileobj=file, tarinfo=_Header)
    offset, name = 0, ""
    while True:
        file.seek(offset)
        if file.tell() < offset or (end is not None and offset > end):
            raise tarfile.ReadError(f"it ends inside {name}")
        try:
            member = _Header.fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            offset = _behind_zeros(file, offset)
            if offset < 0:
                return
            continue  # archives that were appended to each other
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            raise tarfile.ReadError("it has no end marker, so its end may be missing") from None
        if tar.offset <= offset:
            raise tarfile.ReadError("a header leads backwards")
        yield member
        offset, name = tar.offset, member.name


def _end(raw: Any) -> int | None:
    try:
        return int(raw.seek(0, os.SEEK_END))
    except io.UnsupportedOperation:  # a stream
        return None


def _behind_zeros(file: Any, offset: int) -> int:
    """Where the first block that is not all zeros begins, from `offset` on; -1 without one."""
    file.seek(offset)
    while block := file.read(1 << 16):
        if rest := block.lstrip(b"\0"):
            return offset + (len(block) - len(rest)) // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
        offset += len(block)
    return -1
