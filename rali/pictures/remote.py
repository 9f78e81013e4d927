"""Files and addresses alike: bytes of `photo.jpg`, `https://…`, `s3://…` and all that fsspec knows.

In: a place, a local path or an address, as text. Out: an open file, a range of its bytes, or an
entry for a picture there, which is fetched when it is opened, in bounded time and size.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rali.errors import MissingExtraError, PictureError, require, shortened

from .entry import Entry, Unreadable
from .folders import in_order, is_picture_name, is_visible
from .paths import path_text

MAX_BYTES = 512 * 2**20  # of one picture in an archive or at an address
TRIES = 3  # of a request that a server answers with "later", or not at all
_SECONDS = {"total": 120, "sock_connect": 10, "sock_read": 30}
_LATER = {408, 425, 429, 500, 502, 503, 504}
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
    """The file at a local path or an address, open for reading and seeking."""
    if not is_address(place):
        return Path(place).open("rb")
    system, path = file_system(place)
    return system.open(path, "rb")


def stamp(place: str) -> tuple[int, int]:
    """Size and time of change of a local file, to remember what it holds by; no address has one."""
    if is_address(place):
        return 0, 0
    found = Path(place).stat()
    return found.st_size, found.st_mtime_ns


def read_range(place: str, start: int, size: int) -> bytes:
    """`size` bytes from `start`, fewer at the end of the file."""
    if is_address(place):
        system, path = file_system(place)
        return system.cat_file(path, start=start, end=start + size)
    with Path(place).open("rb") as file:
        file.seek(start)
        return file.read(size)


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
        for again in range(TRIES):
            if again:
                time.sleep(4**again / 8)  # half a second, then two
            try:
                data = self._read()
                break
            except (PictureError, MissingExtraError) as error:
                raise PictureError(str(error)) from error
            except Exception as error:  # each driver has errors of its own
                status = getattr(error, "status", None)
                later = status in _LATER or isinstance(error, TimeoutError | ConnectionError)
                if not later or again == TRIES - 1:
                    raise PictureError(reason(error)) from error
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


def reason(error: Exception) -> str:
    """Why a place cannot be read, in one sentence."""
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError):
        return "There is no such file."
    if status:
        said = getattr(error, "message", "") or "no reason"
        return f"The server answered {status} ({shortened(said)})."
    if isinstance(error, TimeoutError):
        return "The server did not answer in time."
    text = shortened(str(error).strip().rstrip(".") or type(error).__name__)
    return f"It cannot be fetched ({text})."


@dataclass(frozen=True)
class RemoteFolder:
    """A folder or a pattern at an address; its names are held in memory, as fsspec gives them."""

    address: str
    recursive: bool
    count: Any = None

    def __iter__(self) -> Iterator[Entry]:
        system, path = file_system(self.address)
        try:
            if "*" in path:
                names = system.glob(path)
            elif self.recursive:
                names = system.find(path)
            else:
                found = system.ls(path, detail=True)
                names = [each["name"] for each in found if each["type"] != "directory"]
        except Exception as error:  # each driver has errors of its own
            text = f"The folder {self.address} cannot be listed: {reason(error)}"
            yield Entry(path_text(self.address), Unreadable(text))
            return
        # What is found keeps the beginning that was typed; a pattern's ends before its first star.
        base, typed = (f"{each.rstrip('/')}/".partition("*")[0] for each in (path, self.address))
        base, typed = (each[: each.rindex("/") + 1] for each in (base, typed))
        inner = (name.removeprefix(base) for name in names if is_picture_name(_plain(name)))
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
