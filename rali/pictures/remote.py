"""Files and addresses alike: bytes of `photo.jpg`, `https://…`, `s3://…` and all that fsspec knows.

In: a place, a local path or an address, as text. Out: an open file, a range of its bytes, or an
entry for a picture there, which is fetched when it is opened, in bounded time and size. What fails
on its way is tried again (`tries`).
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rali.errors import InputError, MissingExtraError, PictureError, require

from .entry import Entry
from .folders import in_order, is_picture_name, is_visible
from .paths import path_text
from .tries import RemoteError, fetch

MAX_BYTES = 512 * 2**20  # of one picture in an archive or at an address
_SECONDS = {"total": 120, "sock_connect": 10, "sock_read": 30}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)")
_HTTP = ("http://", "https://")


def is_address(text: str) -> bool:
    """Whether this begins like `https://`, and is no path."""
    return _SCHEME.match(text) is not None


def file_system(address: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and the path in it.

    Raises:
        MissingExtraError: fsspec or the driver of this kind of address is not installed.
        PictureError: there is no such kind of address.
    """
    fsspec = require("fsspec", "remote")
    options: dict[str, Any] = {}
    if address.startswith(_HTTP):
        aiohttp = require("aiohttp", "remote")
        timeout = aiohttp.ClientTimeout(**_SECONDS)
        options = {"client_kwargs": {"timeout": timeout, "trust_env": True}}
    try:
        return fsspec.core.url_to_fs(address, **options)
    except ImportError as error:
        raise MissingExtraError(
            f"{address.partition('://')[0]}:// needs a driver: {error}"
        ) from None
    except ValueError as error:
        raise PictureError(f"This address cannot be used: {error}.") from None


def opened(place: str) -> BinaryIO:
    """The file at a local path or an address, open for reading and seeking.

    Raises:
        RemoteError: the address cannot be read; so does the file while it is read.
    """
    return io.BufferedReader(_RemoteFile(place)) if is_address(place) else Path(place).open("rb")


class ByPlace(io.RawIOBase):
    """A file of which any stretch can be had: a subclass says how, and where the file ends."""

    _at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            offset += self._end()
        self._at = offset + (self._at if whence == os.SEEK_CUR else 0)
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._stretch(len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _stretch(self, size: int) -> bytes:
        """At most `size` bytes from `_at`; none at the end of the file."""
        raise NotImplementedError

    def _end(self) -> int:
        """How many bytes the file has."""
        raise NotImplementedError


class _RemoteFile(ByPlace):
    """A file at an address; what fails while it is read is tried again from where it was."""

    def __init__(self, place: str) -> None:
        self._place, self._file = place, None
        fetch(self._opened)

    def readall(self) -> bytes:
        data = self._stretch(-1)
        self._at += len(data)
        return data

    def close(self) -> None:
        self._drop()
        super().close()

    def _stretch(self, size: int) -> bytes:
        return fetch(lambda: self._read(size))

    def _end(self) -> int:
        return fetch(self._length)

    def _read(self, size: int) -> bytes:
        try:
            file = self._opened()
            if (now := file.tell()) != self._at:
                self._go(file, now)
            data: bytes = file.read(size)
            return data
        except Exception:
            self._drop()  # the next try opens it anew
            raise

    def _go(self, file: Any, now: int) -> None:
        try:
            file.seek(self._at)
        except ValueError:  # a server that tells no size sends a stream
            if now > self._at:
                raise
            while now < self._at and (skipped := file.read(min(1 << 20, self._at - now))):
                now += len(skipped)

    def _length(self) -> int:
        try:
            file = self._opened()
            file.seek(0, os.SEEK_END)
            return int(file.tell())
        except Exception:
            self._drop()
            raise

    def _opened(self) -> Any:
        if self._file is None:
            system, path = file_system(self._place)
            self._file = system.open(path, "rb")
        return self._file

    def _drop(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def stamp(place: str) -> tuple[int, int]:
    """Size and time of change of a local file, to remember what it holds by; no address has one."""
    if is_address(place):
        return 0, 0
    found = Path(place).stat()
    return found.st_size, found.st_mtime_ns


def read_range(place: str, start: int, size: int) -> bytes:
    """`size` bytes from `start`, fewer at the end of the file.

    Raises:
        RemoteError: the address cannot be read.
    """
    if is_address(place):
        system, path = file_system(place)
        return fetch(lambda: system.cat_file(path, start=start, end=start + size))
    with Path(place).open("rb") as file:
        file.seek(start)
        return file.read(size)


def stream(place: str, start: int) -> Any:
    """The file at an address from `start` on, to be read in order: over HTTP by one request.

    Whoever reads it tries again (`tries.fetch`).
    """
    if not place.startswith(_HTTP):
        file: Any = opened(place)
        file.seek(start)
        return file
    system, path = file_system(place)
    # However long it takes to read it, but not to wait. The size, given here, spares a request.
    timeout = require("aiohttp", "remote").ClientTimeout(**{**_SECONDS, "total": None})
    span = {"headers": {"Range": f"bytes={start}-"}} if start else {}
    try:
        file = system.open(path, "rb", block_size=0, size=1, timeout=timeout, **span)
    except Exception as error:
        if getattr(error, "status", None) == 416:  # it ends before
            return io.BytesIO()
        raise
    skipped = start if file.r.status != 206 else 0  # a server that knows no ranges
    while skipped and (block := file.read(min(1 << 20, skipped))):
        skipped -= len(block)
    return file


def too_large(size: int) -> PictureError:
    return PictureError(
        f"The picture has {size:,} bytes, and at most {MAX_BYTES:,} are read from an archive or "
        "an address."
    )


@dataclass(frozen=True, slots=True)
class Fetched:
    """A picture at an address; `read` fetches it."""

    name: str

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            PictureError: it cannot be fetched, and why.
        """
        try:
            data = fetch(self._read)
        except MissingExtraError as error:
            raise PictureError(str(error)) from error
        if len(data) > MAX_BYTES:
            raise too_large(len(data))
        return data

    def _read(self) -> bytes:
        system, path = file_system(self.name)
        if not self.name.startswith(_HTTP):
            return system.cat_file(path, start=0, end=MAX_BYTES + 1)
        # As a stream: a server may ignore a range, and send more than memory holds. The size, given
        # here, spares a request that asks for it.
        data = bytearray()
        with system.open(path, "rb", block_size=0, size=1) as stream:
            while len(data) <= MAX_BYTES and (block := stream.read(1 << 20)):
                data += block
        return bytes(data)


@dataclass(frozen=True)
class RemoteFolder:
    """A folder or a pattern at an address; its names are held in memory, as fsspec gives them."""

    address: str
    recursive: bool
    count: Any = None

    def __iter__(self) -> Iterator[Entry]:
        """Raises InputError: it cannot be listed."""
        system, path = file_system(self.address)

        def names() -> list[str]:
            if "*" in path:
                return list(system.glob(path))
            if self.recursive:
                return list(system.find(path))
            inside = system.ls(path, detail=True)
            return [each["name"] for each in inside if each["type"] != "directory"]

        try:
            found = fetch(names)
        except RemoteError as error:
            raise InputError(f"The folder {self.address} cannot be listed: {error}") from error
        # What is found keeps the beginning that was typed; a pattern's ends before its first star.
        base, typed = (f"{each.rstrip('/')}/".partition("*")[0] for each in (path, self.address))
        base, typed = (each[: each.rindex("/") + 1] for each in (base, typed))
        inner = (name.removeprefix(base) for name in found if is_picture_name(_plain(name)))
        for name in in_order(filter(is_visible, inner)):
            yield remote_picture(typed + name)


def remote_picture(address: str) -> Entry:
    return Entry(path_text(address), Fetched(address))


def is_remote_folder(address: str) -> bool:
    """Whether an address names several pictures: a pattern, or a folder."""
    plain = _plain(address)
    if "*" in plain or plain.endswith("/"):
        return True
    if address.startswith(_HTTP) or is_picture_name(plain):
        return False
    system, path = file_system(address)
    try:
        return bool(system.isdir(path))
    except Exception:  # opening it tells why
        return False


def _plain(address: str) -> str:
    """Without a query, which may hold anything."""
    return re.split(r"[?#]", address)[0] if address.startswith(_HTTP) else address
