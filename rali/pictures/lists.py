"""Lists of paths: one a line, or separated by NUL, in a file or on standard input.

In: what `find … -print0` or an editor writes. Out: each path as text. The list may be read again,
also by another process: standard input and pipes are kept in a temporary file as they come, and are
in a pickle as a whole.
"""

from __future__ import annotations

import os
import sys
import tempfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from rali.errors import InputError

from .paths import path_in
from .remote import is_address, opened

_BLOCK = 1 << 16


class List:
    """The paths of a list, in its order.

    Args:
        name: the list's file or address, or `-` for standard input.

    Attributes:
        waits: reading it may wait for another program, or for a server.

    Raises:
        InputError: the file cannot be read.
    """

    def __init__(self, name: str) -> None:
        self._name, self.waits = name, name == "-" or not os.path.isfile(name)  # noqa: PTH113
        self._place = name if is_address(name) else os.path.abspath(name)  # noqa: PTH100
        self._pipe = None if name == "-" else self._file()  # such as <(find …), which is read once
        if self._pipe and (not self.waits or is_address(name)):
            self._pipe.close()
            self._pipe = None
        piped = name == "-" or self._pipe
        self._kept = tempfile.TemporaryFile() if piped else None  # noqa: SIM115
        self._ended = not piped

    def __getstate__(self) -> dict[str, Any]:
        """As another process needs it, which cannot read this one's standard input."""
        if self._kept is None:
            return self.__dict__
        text = zlib.compress(b"".join(self._blocks()), 1)
        return self.__dict__ | {"waits": False, "_pipe": None, "_kept": text, "_ended": True}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if state["_kept"] is not None:
            self._kept = tempfile.TemporaryFile()  # noqa: SIM115
            self._kept.write(zlib.decompress(state["_kept"]))

    def __iter__(self) -> Iterator[str]:
        rest, mark = b"", b""
        for block in self._blocks():
            rest = rest.removeprefix(b"\xef\xbb\xbf") + block if not mark else rest + block
            if not mark and (b"\0" in rest or b"\n" in rest):
                mark = b"\0" if b"\0" in rest else b"\n"
            if mark:
                *lines, rest = rest.split(mark)
                yield from _paths(lines, mark)
        yield from _paths([rest], mark)

    def _blocks(self) -> Iterator[bytes]:
        if self._kept is None:
            with self._file() as file:
                try:
                    while block := file.read(_BLOCK):
                        yield block
                except OSError as error:
                    raise self._unread(error) from error
            return
        place = 0
        while True:
            self._kept.seek(place)
            block = self._kept.read(_BLOCK)
            if not block and not self._ended:
                block = (self._pipe or sys.stdin.buffer).read1(_BLOCK)  # type: ignore[union-attr]
                self._kept.write(block)
                self._ended = not block
            if not block:
                return
            place += len(block)
            yield block

    def _file(self) -> BinaryIO:
        try:
            return opened(self._place)
        except OSError as error:
            raise self._unread(error) from error

    def _unread(self, error: OSError) -> InputError:
        why = str(error.strerror or error).rstrip(".")
        return InputError(f"The list {self._name} cannot be read: {why}.")


def _paths(lines: list[bytes], mark: bytes) -> Iterator[str]:
    for line in lines:
        line = line if mark == b"\0" else line.removesuffix(b"\r")
        if line:
            yield path_in(os.fsdecode(line))
