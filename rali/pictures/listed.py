"""Tables that list pictures: CSV, JSON lines and Parquet, with paths, addresses or pictures inside.

In: a table and a column. Out: an entry per row, without the table in memory. A path is relative to
the table's folder and is the key; a picture inside is `photos.parquet#17`, the rows counted from 0.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from rali.errors import InputError, PictureError, require, shortened
from rali.files import from_json

from .entry import Entry, Unreadable
from .forward import Forward
from .inline import from_base64, from_cell, from_data_url, is_data_url
from .paths import find_path, path_in, path_text
from .remote import Fetched, is_address, opened, stamp
from .tries import RemoteError, reason

SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")
COLUMNS = ("image", "file_name", "path", "url")  # where none is named, the first that is there
ENCODER = b"encoder"  # in a Parquet file's metadata: what made the vectors in it
_ROWS = 16  # of a Parquet file with pictures inside, read at once


def iter_cells(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """The (row number from 1, cells) of a UTF-8 CSV with its header; blank rows are skipped.

    Raises:
        InputError: no such file, not text, or not CSV; also after rows that could be read.
    """
    number = 0
    try:
        with (
            opened(str(path)) as raw,
            io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file,
        ):
            for number, cells in enumerate(csv.reader(file, strict=True), 1):
                if number == 1 and len(cells) == 1:
                    _check_separator(path, cells[0])
                if cells:
                    yield number, cells
    except OSError as error:
        why = (error.strerror or reason(error)).rstrip(".")
        raise InputError(f"{path} cannot be read: {why}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read as a UTF-8 CSV file after row {number}: {error}."
        ) from error


def _check_separator(path: str | Path, header: str) -> None:
    for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if mark in header:
            raise InputError(
                f"{path} separates its cells with {name}; a CSV needs commas, and numbers with a "
                "decimal point (3.5, not 3,5). Save it again in this form."
            )


class Table:
    """The pictures that a table lists.

    Args:
        place: the table's absolute path or its address.
        key: as it was given.
        column: which column; by default the first of `COLUMNS`.

    Attributes:
        count: how many rows there are; None where counting them would need a pass.
        numbered: whether each key is its row's number, so that no two are the same.

    Raises:
        InputError: the table cannot be read, or has no such column.
    """

    def __init__(self, place: str, key: str, column: str | None) -> None:
        self.place, self.key = place, key
        self._read: Callable[[], Iterator[tuple[int, Any]]]
        self.count: int | None = None
        self.numbered = False
        suffix = os.path.splitext(place)[1].lower()  # noqa: PTH122
        if suffix == ".parquet":
            schema, self.count = self._parquet()
            self.column = chosen_column(key, schema.names, column)
            self.numbered = holds_pictures(schema.field(self.column).type)
            self._read = self._parquet_pictures if self.numbered else self._parquet_cells
        elif suffix == ".csv":
            _, header = next(iter_cells(place), (1, []))
            self.column = chosen_column(key, [cell.strip() for cell in header], column)
            self._read = self._csv_cells
        else:
            first = next(self._json_rows(), None)
            names = list(first[2]) if first and isinstance(first[2], Mapping) else []
            self.column = chosen_column(key, names, column)
            self._read = self._json_cells

    def __iter__(self) -> Iterator[Entry]:
        """Raises InputError: it lies at an address and cannot be fetched to its end."""
        number = -1
        try:
            for number, cell in self._read():
                yield self._entry(number, cell)
        except Exception as error:  # pyarrow has errors of its own
            fault = error.__cause__ if isinstance(error, InputError) else error
            if isinstance(fault, RemoteError):
                raise InputError(
                    f"{self.key} cannot be read behind its first {number + 1:,} rows: {fault}"
                ) from fault
            text = shortened(error, 300).rstrip(".")
            yield Entry(
                path_text(self.key),
                Unreadable(f"The table ends after {number + 1} rows, because of damage: {text}."),
            )

    def first(self) -> Iterator[Entry]:
        """The picture of the first row, if there is one."""
        return islice(self, 1)

    def _entry(self, number: int, cell: Any) -> Entry:
        """The picture of one cell; what is no path has the number of its row as its key."""
        numbered = path_text(f"{self.key}#{number}")
        if isinstance(cell, Mapping) and cell.get("bytes") is None:
            cell = cell.get("path")
        if not isinstance(cell, str):
            if cell is None:
                cell = Unreadable(f"Row {number} has nothing in column {self.column!r}.")
            return Entry(numbered, cell)
        if not cell.strip():
            return self._entry(number, None)
        if is_data_url(cell):
            return Entry(numbered, UrlCell(self.place, self.column, cell))
        if is_address(cell):
            return Entry(path_text(cell), Fetched(cell))
        if is_address(self.place):
            address = f"{self.place.rpartition('/')[0]}/{cell}"
            return Entry(path_text(address), Fetched(address))
        key = os.path.join(os.path.dirname(self.key), path_in(cell))  # noqa: PTH118, PTH120
        return Entry(path_text(Path(key)), find_path(cell, Path(self.place).parent))

    def _csv_cells(self) -> Iterator[tuple[int, Any]]:
        rows = iter_cells(self.place)
        place = [cell.strip() for cell in next(rows)[1]].index(self.column)
        for number, (_, cells) in enumerate(rows):
            yield number, cells[place] if place < len(cells) else None

    def _json_rows(self) -> Iterator[tuple[int, int, Any]]:
        """(row, where its line begins, what it holds or an Unreadable)."""
        offset, number = 0, 0
        try:
            with opened(self.place) as file:
                for line in file:
                    if line.strip():
                        yield number, offset, _json(line, number)
                        number += 1
                    offset += len(line)
        except OSError as error:
            raise InputError(f"{self.key} cannot be read: {reason(error)}") from error

    def _json_cells(self) -> Iterator[tuple[int, Any]]:
        for number, offset, row in self._json_rows():
            cell = row.get(self.column) if isinstance(row, Mapping) else row
            inside = isinstance(cell, Mapping) and cell.get("bytes") is not None
            if inside or is_data_url(cell):
                cell = JsonCell(self.place, offset, self.column)
            elif not isinstance(cell, str | Mapping | Unreadable):
                cell = None
            yield number, cell

    def _parquet(self) -> tuple[Any, int]:
        try:
            with opened(self.place) as file:
                table = _parquet_file(file)
                return table.schema_arrow, table.metadata.num_rows
        except RemoteError as error:
            raise InputError(f"{self.key} cannot be read: {error}") from error
        except (OSError, ValueError) as error:
            raise InputError(f"{self.key} cannot be read as a Parquet file: {error}") from error

    def _parquet_cells(self) -> Iterator[tuple[int, Any]]:
        with opened(self.place) as file:
            table = _parquet_file(file, buffer_size=1 << 20)
            number = 0
            for batch in table.iter_batches(4096, columns=[self.column]):
                for cell in batch.column(0).to_pylist():
                    yield number, cell
                    number += 1

    def _parquet_pictures(self) -> Iterator[tuple[int, Any]]:
        """Cells that are not read yet: groups and rows are in the file's footer."""
        with opened(self.place) as file:
            footer = _parquet_file(file).metadata
            number = 0
            for group in range(footer.num_row_groups):
                for row in range(footer.row_group(group).num_rows):
                    yield number, ParquetCell(self.place, self.column, group, row)
                    number += 1


def chosen_column(key: str, there: Sequence[str], asked: str | None) -> str:
    """The column to read.

    Raises:
        InputError: there is none of this name, or none of the usual names.
    """
    names = [asked] if asked else COLUMNS
    for name in names:
        if name in there:
            return name
    raise InputError(
        f"{key} has no column {' or '.join(map(repr, names))}; it has: "
        f"{', '.join(there) or 'none'}. Say which one holds the pictures with --column NAME."
    )


@dataclass(frozen=True, slots=True)
class JsonCell:
    """A picture inside a line of JSON, as a data URL or as `{"bytes": base64}`."""

    place: str
    offset: int
    column: str

    def read(self) -> bytes:
        with opened(self.place) as file:
            file.seek(self.offset)
            cell = from_json(file.readline())[self.column]
        if isinstance(cell, Mapping):
            return from_base64(cell["bytes"])
        return from_data_url(cell)


@dataclass(frozen=True, slots=True)
class UrlCell:
    """A picture that is a data URL in a cell of text."""

    place: str
    column: str
    url: str

    def read(self) -> bytes:
        return from_data_url(self.url)


@dataclass(frozen=True, slots=True)
class ParquetCell:
    """A picture inside a Parquet file: bytes, or `{"bytes": …, "path": …}` as in data sets."""

    place: str
    column: str
    group: int
    row: int

    def read(self) -> bytes:
        try:
            group = _group(os.getpid(), self.place, stamp(self.place), self.column, self.group)
            slices = group.slices(self.row, self.row + 1)
        except RemoteError as error:
            raise PictureError(f"The Parquet file cannot be read here: {error}") from error
        except Exception as error:  # pyarrow's
            text = shortened(error).rstrip(".")
            raise PictureError(f"The Parquet file is damaged here ({text}).") from error
        cell = slices[0][0].as_py() if slices else None
        if cell is None:
            raise PictureError(f"Its row has nothing in column {self.column!r}.")
        cell = from_cell(cell) if isinstance(cell, Mapping) else cell
        return bytes_of(cell, Path(self.place).parent)


def bytes_of(cell: Any, folder: Path) -> bytes:
    """What a data set's cell holds: bytes, or those of the file that it names."""
    if isinstance(cell, bytes):
        return cell
    place = cell if is_address(cell) else str(find_path(cell, folder))
    try:
        with opened(place) as file:
            return file.read()
    except OSError as error:
        why = str(error.strerror or error).rstrip(".")
        raise PictureError(f"{cell} cannot be read: {why}.") from error


@lru_cache(maxsize=4)
def _group(process: int, place: str, changed: tuple[int, int], column: str, group: int) -> Forward:
    """One group of rows as this process reads it (a fork must not share its file)."""

    def batches() -> Iterator[Any]:
        with opened(place) as file:
            footer = _footer(place, changed)
            table = _parquet_file(file, metadata=footer, buffer_size=1 << 20)
            rows = {"row_groups": [group], "columns": [column]}
            for batch in table.iter_batches(_ROWS, **rows, use_threads=False):
                yield batch.column(0)

    return Forward(batches, lambda column: column.nbytes)


@lru_cache(maxsize=256)
def _footer(place: str, changed: tuple[int, int]) -> Any:
    """What a Parquet file says of its groups; of many, this takes longer to read than a group."""
    with opened(place) as file:
        return _parquet_file(file).metadata


def _parquet_file(file: Any, **options: Any) -> Any:
    return require("pyarrow.parquet", "data").ParquetFile(file, **options)


def holds_pictures(kind: Any) -> bool:
    """Whether an Arrow type is that of pictures in a table: bytes, or a data set's cells."""
    types = require("pyarrow", "data").types
    return types.is_struct(kind) or types.is_binary(kind) or types.is_large_binary(kind)


def picture_columns(place: str) -> list[str]:
    """The columns of a Parquet file whose cells are pictures, by their types."""
    types = require("pyarrow", "data").types
    with opened(place) as file:
        schema = _parquet_file(file).schema_arrow
    held = [field for field in schema if holds_pictures(field.type)]
    return [
        field.name
        for field in held
        if not types.is_struct(field.type) or field.type.get_field_index("bytes") >= 0
    ]


def _json(line: bytes, number: int) -> Any:
    try:
        return from_json(line)
    except ValueError as error:
        return Unreadable(f"Row {number} is not JSON ({shortened(error)}).")
