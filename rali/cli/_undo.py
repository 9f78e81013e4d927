"""What sidecars in a folder were before rali wrote into them, so that they can be so again.

`FOLDER/.rali-xmp/undo.jsonl` has a line before each write: the sidecar's name, its bytes before
(null where there was none) and the SHA-256 of those after. Where rali writes again into what it
wrote, the line has no bytes: undoing goes back to the first. A line without its write, as after a
kill, does no harm.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rali.errors import InputError
from rali.files import from_json, replace_atomically
from rali.runs.folder import alone_in

FOLDER = ".rali-xmp"


@dataclass
class _Note:
    place: int  # of the line with the bytes before
    after: set[str]  # what rali has written since


class UndoRecord:
    """The record of one folder, which keeps other processes out until it is closed.

    Raises:
        InputError: another process writes sidecars there, or the record is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._side = folder, folder / FOLDER
        self._notes: dict[str, _Note] = {}
        self._undone = False
        with ExitStack() as opened:
            opened.enter_context(alone_in(self._side))
            self._file = opened.enter_context((self._side / "undo.jsonl").open("a+b"))
            self._read()
            self._open = opened.pop_all()

    def close(self) -> None:
        """Let others in; a record with nothing to undo is removed."""
        kept = list[bytes]()
        if self._undone:
            self._file.seek(0)
            kept = [line for line in self._file if from_json(line)["sidecar"] in self._notes]
        with self._open:
            self._file.close()
            if kept:
                path = self._side / "undo.jsonl"
                replace_atomically(path, lambda target: target.write_bytes(b"".join(kept)))
        if not self._notes:
            shutil.rmtree(self._side, ignore_errors=True)

    def write(self, name: str, before: bytes | None, after: bytes) -> bool:
        """Note a sidecar's bytes, then replace them; false where others have replaced them."""
        line: dict[str, Any] = {"sidecar": name, "sha256": _digest(after)}
        place, known = self._file.seek(0, os.SEEK_END), self._notes.get(name)
        note = known
        if note is None or before is None or _digest(before) not in note.after:
            packed = before if before is None else base64.b64encode(zlib.compress(before)).decode()
            line["before"] = packed
            note = _Note(place, set())
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        if before is not None:
            os.fsync(self._file.fileno())  # somebody's work must not be lost with the current
        # Noted before the write: a stop in between must find its way back.
        self._notes[name] = _Note(note.place, note.after | {line["sha256"]})
        path = self._folder / name
        try:
            if _replace(path, before, after):
                return True
        except OSError:
            if read_sidecar(path) == before:
                self._forget(name, place, known)
            raise
        self._forget(name, place, known)
        return False

    def _forget(self, name: str, place: int, known: _Note | None) -> None:
        """Take back a note of what was not written, else undoing would speak of that file."""
        self._file.truncate(place)
        del self._notes[name]
        if known is not None:
            self._notes[name] = known

    def undo(self, name: str) -> str | None:
        """Make a sidecar what it was.

        Returns "restored", "deleted", or "edited" where somebody has written it since, and it
        stays; None where the record does not know it.
        """
        note = self._notes.get(name)
        if note is None:
            return None
        path = self._folder / name
        now, before = read_sidecar(path), self._before(note)
        if now != before:
            if now is None or _digest(now) not in note.after:
                return "edited"
            if before is None:
                path.unlink()
            elif not _replace(path, now, before):
                return "edited"
        del self._notes[name]
        self._undone = True
        return "deleted" if before is None else "restored"

    def _read(self) -> None:
        """Fill `_notes`; a line that a kill cut is dropped."""
        self._file.seek(0)
        end = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            try:
                noted = from_json(line)
                if "before" in noted:
                    self._notes[noted["sidecar"]] = _Note(end, set())
                self._notes[noted["sidecar"]].after.add(noted["sha256"])
            except (ValueError, KeyError, TypeError):
                raise InputError(
                    f"{self._file.name} is damaged at byte {end:,}: what the sidecars in "
                    f"{self._folder} were before cannot be told. Remove that file to go on "
                    "without --undo for them."
                ) from None
            end += len(line)
        self._file.truncate(end)

    def _before(self, note: _Note) -> bytes | None:
        self._file.seek(note.place)
        packed = from_json(self._file.readline())["before"]
        return None if packed is None else zlib.decompress(base64.b64decode(packed))


def read_sidecar(path: Path) -> bytes | None:
    """A sidecar's bytes, or None where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


class _EditedError(Exception):
    """Somebody has written the file in the meantime."""


def _replace(path: Path, before: bytes | None, after: bytes) -> bool:
    """Replace a file whole, with the permissions that it has; false where it is not `before`."""

    def write(target: Path) -> None:
        with target.open("wb") as file:
            file.write(after)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, target)
        if read_sidecar(path) != before:  # at the last moment: an editor may be at work here
            raise _EditedError

    try:
        replace_atomically(path, write)
    except _EditedError:
        return False
    return True


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
