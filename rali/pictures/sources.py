"""What is to be scored, however it is named: one `Entry` (key and picture) after the other.

In: what a user types: files, folders, patterns. Out: `Entries`, which can be
iterated again and again in the same order and never holds all pictures in memory.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rali.errors import InputError

from .entry import Entry, Unreadable
from .folders import in_order, is_picture_name, unlisted, walk
from .paths import path_text
from .seen import Seen

__all__ = ["Entries", "Entry", "find_entries"]


class _Many(Protocol):
    """A source of several pictures; `count` is None where counting them would need a pass."""

    @property
    def count(self) -> int | None: ...

    def __iter__(self) -> Iterator[Entry]: ...


class Entries:
    """The pictures of `find_entries`: each iteration gives the same entries in the same order.

    Attributes:
        sources: what they came from, as it was given.
    """

    def __init__(
        self, sources: Sequence[str | Path], found: Iterable[Entry | _Many], hint: str
    ) -> None:
        self.sources = tuple(map(str, sources))
        self._found = list(found)
        self._hint = hint

    def __repr__(self) -> str:
        return f"Entries({', '.join(self.sources[:3])}{', …' if len(self.sources) > 3 else ''})"

    def __iter__(self) -> Iterator[Entry]:
        """Entries, each key once.

        Raises:
            InputError: there is none at all.
        """
        only = self._found[0] if len(self._found) == 1 else None
        unique = isinstance(only, _Folder)
        seen, entry = Seen(), None
        for found in self._found:
            for entry in [found] if isinstance(found, Entry) else found:
                if unique or seen.add(entry.key):
                    yield entry
        if entry is None:
            raise InputError(f"There are no pictures in {', '.join(self.sources)}{self._hint}.")

    @property
    def count(self) -> int | None:
        """How many there are (what is named twice counts twice); None where counting is dear."""
        total = 0
        for found in self._found:
            more = 1 if isinstance(found, Entry) else found.count
            if more is None:
                return None
            total += more
        return total


def find_entries(
    sources: Sequence[str | Path], *, recursive: bool = False, column: str | None = None
) -> Entries:
    """The pictures that `sources` name.

    Args:
        sources: files, folders, and patterns such as `photos/*.jpg`.
        recursive: look into folders inside folders too.
        column: the column of a table that names or holds the pictures.

    Raises:
        InputError: a source cannot be used at all. What cannot be read within one is an entry,
            and opening its picture tells why.
    """
    found = [_found(str(source), recursive) for source in sources]
    hint = "" if recursive else " (--recursive also looks into their folders)"
    return Entries(sources, found, hint)


def _found(source: str, recursive: bool) -> Entry | _Many:
    if os.path.lexists(source) or not glob.has_magic(source):
        return _local(source, recursive)
    return _Pattern(source, recursive)


def _local(source: str, recursive: bool) -> Entry | _Many:
    path = Path(source)
    if os.path.isdir(path):  # noqa: PTH112 - False, where Path.is_dir raises
        return _Folder(path, recursive)
    return Entry(path_text(path), path)


@dataclass(frozen=True)
class _Folder:
    path: Path
    recursive: bool

    def __iter__(self) -> Iterator[Entry]:
        for folder, names in walk(self.path, self.recursive):
            try:
                for name in in_order(filter(is_picture_name, names)):
                    yield Entry(path_text(folder / name), folder / name)
            except OSError as error:
                yield Entry(path_text(folder), Unreadable(unlisted(folder, error)))

    @property
    def count(self) -> int | None:
        try:
            return sum(
                sum(map(is_picture_name, names)) for _, names in walk(self.path, self.recursive)
            )
        except OSError:
            return None


@dataclass(frozen=True)
class _Pattern:
    """A pattern that the shell did not expand; what it matches is taken as if it were typed."""

    pattern: str
    recursive: bool
    count: Any = None

    def __iter__(self) -> Iterator[Entry]:
        match = None
        for match in in_order(glob.iglob(self.pattern, recursive=True)):  # noqa: PTH207
            found = _local(match, self.recursive)
            yield from [found] if isinstance(found, Entry) else found
        if match is None:
            yield Entry(path_text(self.pattern), Unreadable("No file matches this pattern."))
