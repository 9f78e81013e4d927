"""A release's pictures on disk, found by the names in its list whatever their case."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from rali.errors import InputError
from rali.pictures.paths import absolute, resolve_path

from ..tables import first_few


def subfolder(root: Path, name: str) -> Path:
    """The folder `name` in `root`, matched without case; `root / name` when there is none."""
    if (root / name).is_dir() or not root.is_dir():
        return root / name
    alike = (path for path in sorted(root.iterdir()) if path.name.lower() == name.lower())
    return next((path for path in alike if path.is_dir()), root / name)


def _plain(name: str) -> str:
    """The name without case, and with letters composed: macOS writes ä as two characters."""
    return unicodedata.normalize("NFC", name).lower()


class PictureFinder:
    """Finds pictures in a folder by name, without case, and counts the missing ones.

    Args:
        folder: names are relative to it.
        repeats: whether a list may name a picture more than once.
    """

    def __init__(self, folder: Path, *, repeats: bool = False) -> None:
        self.folder, self.repeats = folder, repeats
        self.first: dict[Path, str] = {}
        self.there = folder.is_dir()
        self.asked = 0
        self.missing: list[str] = []
        self._by_lower: dict[str, Path] | None = None

    def find(self, name: str | None, where: str) -> Path:
        """The picture's path, or where it should be when it is missing.

        Raises:
            InputError: the name is empty, or was asked for before; `where` begins the message.
        """
        written = name or ""
        name = written.strip()
        if not name:
            raise InputError(f"{where}: empty; expected the picture's file name.")
        self.asked += 1
        path = self.look(written) or self.look(name)  # a name may begin or end with a blank
        if path is None:
            self.missing.append(name)
            path = resolve_path(name, self.folder)
        if not self.repeats and self.first.setdefault(path, where) != where:
            raise InputError(f"{where}: {written!r} is already in {self.first[path]}.")
        return path

    def look(self, name: str) -> Path | None:
        """The picture's path, or None when it is missing, which is not counted."""
        if not self.there:
            return None
        exact = resolve_path(name, self.folder)
        if exact.is_file():
            return exact
        if self._by_lower is None:  # list the folder only when a name is not found as written
            self._by_lower = {}
            from rali.pictures.folders import walk

            for place, files in walk(self.folder):
                for file in sorted(files):
                    found = absolute(file, place)
                    key = Path(os.path.relpath(found, absolute("", self.folder))).as_posix()
                    self._by_lower.setdefault(_plain(key), found)
        return self._by_lower.get(_plain(Path(name).as_posix()))

    def stop_if_missing(self, source: Path, labels_only: bool) -> None:
        """Refuse missing pictures in one sentence, unless only the labels are wanted."""
        if not self.missing or labels_only:
            return
        raise InputError(
            f"{len(self.missing)} of the {self.asked} pictures that {source} lists are not in "
            f"{self.folder}: {first_few(self.missing)}. Put them there, or import the labels alone "
            "(--labels-only)."
        )
