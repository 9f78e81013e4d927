"""Zip archives: members that are pictures, read where they lie.

In: `photos.zip`. Out: entries with the key `photos.zip/folder/member.jpg`, in the order of the
archive's directory. Nothing is extracted: a member's name is only a name.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from rali.errors import InputError, PictureError, shortened

from .entry import Entry, Unreadable
from .folders import is_picture_name, is_visible
from .paths import path_text
from .remote import MAX_BYTES, is_address, opened, read_range, too_large
from .seen import Seen
from .tries import RemoteError, reason

_LOCAL = struct.Struct("<4s22xHH")  # a member's own header: signature, lengths of name and extra
_ENCRYPTED = 1


@dataclass(frozen=True)
class Zip:
    """The pictures of a zip archive; one whose directory is damaged is an entry that says so."""

    place: str
    key: str
    wanted: Callable[[str], bool] = is_picture_name  # by a member's name

    def __iter__(self) -> Iterator[Entry]:
        """Raises InputError: it lies at an address and cannot be fetched."""
        seen = Seen()
        try:
            members = self._members()
        except Exception as error:  # a damaged directory's
            fault = error.__context__ if isinstance(error, zipfile.BadZipFile) else error
            if isinstance(fault, RemoteError):  # zipfile takes it for damage
                raise InputError(f"The archive {self.key} cannot be read: {fault}") from fault
            why = (
                f"its directory, at its end, is missing or damaged ({shortened(error)})."
                if isinstance(error, zipfile.BadZipFile)
                else reason(error)
            )
            text = f"The archive {self.key} cannot be read, and nothing in it is scored: {why}"
            yield Entry(path_text(self.key), Unreadable(text))
            return
        for member in members:
            key = path_text(f"{self.key}/{member.filename}")
            if not seen.add(key):  # a later version of the member
                key = f"{key}@{member.header_offset}"
            yield Entry(key, ZipMember(self.place, member))

    @property
    def count(self) -> int | None:
        return sum(1 for _ in self)

    def _members(self) -> Iterator[zipfile.ZipInfo]:
        with opened(self.place) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
        return (
            member
            for member in members
            if not member.is_dir() and self.wanted(member.filename) and is_visible(member.filename)
        )


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A picture inside a zip archive: the entry of the archive's directory."""

    place: str
    info: zipfile.ZipInfo

    @property
    def name(self) -> str:
        return self.info.filename

    def read(self) -> bytes:
        if self.info.file_size > MAX_BYTES:
            raise too_large(self.info.file_size)
        if self.info.flag_bits & _ENCRYPTED:
            raise PictureError("The picture is encrypted in its archive: unpack it first.")
        try:
            # By itself: ZipFile would read the whole directory again for each picture.
            with self._begun() as file:
                signature, name, extra = _LOCAL.unpack(file.read(_LOCAL.size))
                if signature != b"PK\3\4":
                    raise zipfile.BadZipFile("no member begins where the directory says")
                file.seek(name + extra, 1)
                with zipfile.ZipExtFile(file, "r", self.info) as member:
                    return member.read()
        except RemoteError as error:
            raise PictureError(f"The archive cannot be read here: {error}") from error
        except Exception as error:  # a decompressor raises nearly anything on malformed bytes
            text = shortened(error).rstrip(".") or type(error).__name__
            raise PictureError(f"The archive is damaged here ({text}).") from error

    def _begun(self) -> BinaryIO:
        """The archive where this member begins; of one at an address, no more than the member."""
        if is_address(self.place):
            # Its own header may be longer than what the directory says of it.
            start, size = self.info.header_offset, min(self.info.compress_size, MAX_BYTES)
            guess = 4 * len(self.info.filename) + len(self.info.extra) + 1024
            data = read_range(self.place, start, _LOCAL.size + guess + size)
            if (header := sum(_LOCAL.unpack(data[: _LOCAL.size])[1:])) > guess:
                data = read_range(self.place, start, _LOCAL.size + header + size)
            return io.BytesIO(data)
        file = opened(self.place)
        file.seek(self.info.header_offset)
        return file
