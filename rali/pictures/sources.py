"""What is to be scored, however it is named: one `Entry` (key and picture) after the other.

In: what a user types: files, folders, patterns, lists, tables, archives, data sets, addresses. Out:
`Entries`, which can be iterated again and again in the same order and never holds all pictures in
memory. Each kind of source is a module of its own; which one a text names is decided here.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rali.errors import InputError, RaliError

from . import hugging_face, listed, tars
from .entry import Entry, Unreadable
from .folders import in_order, is_picture_name, unlisted, walk
from .inside import container_of, picture_inside, table_of
from .lists import List
from .paths import path_text
from .remote import Fetched, RemoteFolder, is_address, is_remote_folder, remote_picture
from .seen import Seen
from .zips import Zip

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
            InputError: there is none at all, or what was given lies at an address and cannot be
                fetched.
        """
        only = self._found[0] if len(self._found) == 1 else None
        unique = isinstance(only, _Folder | Zip | tars.Tar | hugging_face.DataSet)
        unique = unique or (isinstance(only, listed.Table) and only.numbered)
        seen, entry = Seen(), None
        for found in self._found:
            for entry in [found] if isinstance(found, Entry) else found:
                if unique or seen.add(entry.key):
                    yield entry
        if entry is None:
            raise InputError(f"There are no pictures in {', '.join(self.sources)}{self._hint}.")

    @property
    def container(self) -> str | None:
        """The first source whose pictures are no files of their own, where that is known."""
        sources = zip(self.sources, self._found, strict=True)
        return next((source for source, found in sources if _is_container(found)), None)

    def tables(self, wait: bool = False) -> Iterator[Entry]:
        """The first picture of each table and split, without going through the rest.

        What a list on standard input or at an address names is left out, as more of it may come,
        unless `wait` says to read it to its end.
        """
        for found in self._found:
            for each in found.inner(wait) if isinstance(found, _Pattern | _Listed) else [found]:
                if isinstance(each, listed.Table | hugging_face.DataSet):
                    with contextlib.suppress(RaliError):  # going through it tells why
                        yield from each.first()
                elif isinstance(each, Entry) and isinstance(each.picture, listed.ParquetCell):
                    yield each

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

        find_entries(["photos", "more.zip", "https://example.org/a.jpg"])

    Args:
        sources: files; folders; patterns such as `photos/*.jpg`; `-` (paths on standard input, one
            a line or separated by NUL) and `@list.txt`; tables (`.csv`, `.jsonl`, `.parquet`);
            archives (`.zip`, `.tar`, `.tar.gz`, …); folders that `datasets` saved and
            `hf://datasets/OWNER/NAME`; addresses (`https://…`, `s3://…`, …).
        recursive: look into folders inside folders too.
        column: the column of tables and data sets that names or holds the pictures; by default
            `image`, `file_name`, `path` or `url`.

    Raises:
        InputError: a source cannot be used at all. What cannot be read within one is an entry,
            and opening its picture tells why.
    """
    look = _Look(recursive, column, os.getcwd())  # noqa: PTH109
    hint = "" if recursive else " (--recursive also looks into their folders)"
    found = list(map(look.typed, map(str, sources)))
    named = (listed.Table, hugging_face.DataSet, _Listed, _Pattern)  # the last two may hold tables
    if column is not None and not any(isinstance(each, named) or _is_row(each) for each in found):
        raise InputError(
            f"A column ({column}) is for tables and data sets, and there is none among "
            f"{', '.join(map(str, sources))}."
        )
    return Entries(sources, found, hint)


@dataclass(frozen=True)
class _Look:
    """How sources are looked up; each method returns an entry, or several.

    Places are absolute, for a worker that stands elsewhere; keys are as they were typed.
    """

    recursive: bool
    column: str | None
    folder: str  # of relative paths

    def typed(self, source: str) -> Entry | _Many:
        """What a user typed."""
        if source == "-":
            return _Listed(List(source), self)
        if os.path.lexists(source):
            return self.local(source)
        if source.startswith("@"):
            return _Listed(List(source[1:]), self)
        if glob.has_magic(source) and not is_address(source):
            return _Pattern(source, self)
        return self.named(source)

    def named(self, source: str) -> Entry | _Many:
        """A path or an address, as lists hold them."""
        if not is_address(source) or os.path.lexists(self.place(source)):
            return self.local(source)
        if hugging_face.is_hub_name(source):
            return hugging_face.DataSet(source, source, self.column)
        if (many := self._by_suffix(source, source)) is not None:
            return many
        if is_remote_folder(source):
            return RemoteFolder(source, self.recursive)
        return remote_picture(source)

    def local(self, source: str) -> Entry | _Many:
        """A path."""
        path, full = Path(source), self.place(source)
        if os.path.isdir(full):  # noqa: PTH112 - False, where Path.is_dir raises
            if hugging_face.is_saved(Path(full)):
                return hugging_face.DataSet(full, str(path), self.column)
            return _Folder(Path(full), path, self.recursive)
        if (many := self._by_suffix(full, str(path))) is not None:
            return many
        row = table_of(full) is not None and not os.path.lexists(full)
        return Entry(path_text(path), picture_inside(full, self.column) if row else Path(full))

    def place(self, source: str) -> str:
        """A path, made absolute."""
        return os.path.abspath(os.path.join(self.folder, source))  # noqa: PTH100, PTH118

    def _by_suffix(self, place: str, key: str) -> _Many | None:
        name = place.lower()
        if name.endswith(listed.SUFFIXES):
            return listed.Table(place, key, self.column)
        if name.endswith(".zip"):
            return Zip(place, key)
        return tars.Tar(place, key) if name.endswith(tars.SUFFIXES) else None


@dataclass(frozen=True)
class _Folder:
    place: Path
    key: Path
    recursive: bool

    def __iter__(self) -> Iterator[Entry]:
        for folder, names in walk(self.place, self.recursive):
            key = self.key / folder.relative_to(self.place)
            try:
                for name in in_order(filter(is_picture_name, names)):
                    yield Entry(path_text(key / name), folder / name)
            except OSError as error:
                yield Entry(path_text(key), Unreadable(unlisted(key, error)))

    @property
    def count(self) -> int | None:
        try:
            return sum(
                sum(map(is_picture_name, names)) for _, names in walk(self.place, self.recursive)
            )
        except OSError:
            return None


@dataclass(frozen=True)
class _Pattern:
    """A pattern that the shell did not expand; what it matches is taken as if it were typed."""

    pattern: str
    look: _Look
    count: Any = None

    def __iter__(self) -> Iterator[Entry]:
        match = None
        for match in in_order(self._matches()):
            yield from _each(match, self.look.local)
        if match is None:
            yield Entry(path_text(self.pattern), Unreadable("No file matches this pattern."))

    def inner(self, wait: bool) -> Iterator[Entry | _Many]:
        """What it matches besides pictures, in the system's order."""
        if not is_picture_name(self.pattern):
            for match in self._matches():
                if not is_picture_name(match):
                    yield from _found(match, self.look.local)

    def _matches(self) -> Iterator[str]:
        return glob.iglob(self.pattern, root_dir=self.look.folder, recursive=True)  # noqa: PTH207


@dataclass(frozen=True)
class _Listed:
    """What a list names, as if each were typed; patterns and further lists are only names."""

    paths: List
    look: _Look
    count: Any = None

    def __iter__(self) -> Iterator[Entry]:
        for path in self.paths:
            yield from _each(path, self.look.named)

    def inner(self, wait: bool) -> Iterator[Entry | _Many]:
        """Tables, data sets and folders that it names, where it can be read at once or `wait`s.

        Of rows of a table, the first; nothing is asked of a server but tables and data sets.
        """
        seen = set[str]()
        with contextlib.suppress(RaliError):  # going through it tells why
            for path in () if self.paths.waits and not wait else self.paths:
                if is_picture_name(path):
                    continue
                place = self.look.place(path)
                table = table_of(place)
                known = path.lower().endswith(listed.SUFFIXES) or hugging_face.is_hub_name(path)
                if (known or table or os.path.isdir(place)) and (table or path) not in seen:  # noqa: PTH112
                    seen.add(table or path)
                    yield from _found(path, self.look.named)


def _is_container(found: Entry | _Many) -> bool:
    if isinstance(found, listed.Table):
        return found.numbered or is_address(found.place)
    if isinstance(found, Entry):
        picture = found.picture
        is_file = isinstance(picture, Path) and (picture.is_file() or not container_of(picture))
        return not is_file
    return isinstance(found, Zip | tars.Tar | hugging_face.DataSet | RemoteFolder)


def _is_row(found: Entry | _Many) -> bool:
    """Whether this is a row of a table that was named by its number."""
    return isinstance(found, Entry) and not isinstance(found.picture, Path | Fetched)


def _found(source: str, look: Callable[[str], Entry | _Many]) -> Iterator[Entry | _Many]:
    """What a source is; nothing where it cannot be used, which `_each` tells of."""
    with contextlib.suppress(RaliError):
        yield look(source)


def _each(source: str, look: Callable[[str], Entry | _Many]) -> Iterator[Entry]:
    """The entries of a source that is found in the middle of others, which go on without it."""
    try:
        found = look(source)
        yield from [found] if isinstance(found, Entry) else found
    except RaliError as error:
        yield Entry(path_text(source), Unreadable(str(error)))
