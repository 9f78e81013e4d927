"""CSV and Parquet tables as lists of (row number, cells), for manifests and pairs.

In: a path. Out: records, one dict of cells a row; the header is row 1. The rules that all tables
share are here too: paths stored relative to the file, columns that must be there, numbers in cells.

A path that is not text is stored as `file:` and its bytes, percent-encoded, so that the table is
text for every reader: `file:caf%E9.jpg`. One that a spreadsheet would take for a formula gets a
folder, as in `./=1.jpg`.
"""

from __future__ import annotations

import csv
import math
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from rali.errors import InputError, require
from rali.files import replace_atomically

Records = list[tuple[int, Mapping[str, Any]]]
_BYTES = "file:"  # begins a path whose bytes are percent-encoded
_FORMULA = ("=", "+", "-", "@")
# Bytes of a file's name that are not UTF-8, as Python reads them, and what would end a CSV's row.
_NO_TEXT = re.compile("[\udc80-\udcff\r]")


def absolute(path: str | Path, folder: Path) -> Path:
    """A path in `folder`, made absolute (links are not followed)."""
    # On strings: pathlib takes a minute over a million rows. Path.resolve would follow links.
    return Path(os.path.abspath(os.path.join(folder, path)))  # noqa: PTH100, PTH118


def resolve_path(text: str, folder: Path) -> Path:
    """A path as a table in `folder` stores it, made absolute (links are not followed)."""
    return absolute(path_in(text), folder)


def find_path(text: str, folder: Path) -> Path:
    """`resolve_path`, in the spelling that is on disk where the file is not there as written.

    Spellings are outer blanks, and letters composed or not: macOS writes ä as two characters.
    """
    path = resolve_path(text, folder)
    if (text.isascii() and text == text.strip()) or os.path.isfile(path):  # noqa: PTH113
        return path
    place = resolve_path("", folder)
    for part in Path(os.path.relpath(resolve_path(text.strip(), folder), place)).parts:
        spellings = [part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD"))]
        there = [place / name for name in spellings if os.path.lexists(place / name)]
        if not there:
            return path
        place = there[0]
    return Path(os.path.normpath(place))


def stored_path(path: str | Path, folder: Path) -> str:
    """A path as a table in `folder` stores it: relative to `folder`, with forward slashes.

    A picture that shares only the root with the table stays absolute.
    """
    full, base = os.path.abspath(path), os.path.abspath(folder)  # noqa: PTH100
    try:
        shared = os.path.commonpath([full, base])
    except ValueError:  # two drives of a Windows machine
        shared = ""
    apart = shared in ("", os.path.splitdrive(shared)[0] + os.sep) and shared != base
    stored = (full if apart else os.path.relpath(full, base)).replace(os.sep, "/")
    return path_text(stored)


def path_text(path: str | Path) -> str:
    """A path as a table's cell holds it; `path_in` reads it back."""
    path = str(path)
    if path != as_text(path) or path.startswith(_BYTES):
        return _BYTES + quote_from_bytes(os.fsencode(path))
    return f"./{path}" if path.startswith(_FORMULA) else path


def path_in(text: str) -> str:
    """The path that a table's cell holds."""
    if text.startswith(_BYTES):
        return os.fsdecode(unquote_to_bytes(text.removeprefix(_BYTES)))
    return text


def as_text(name: str) -> str:
    """A file's name as text: bytes that are not UTF-8 are written as %E9, a carriage return %0D."""
    return _NO_TEXT.sub(lambda found: f"%{ord(found[0]) & 0xFF:02X}", name)


def number_in(text: str, low: float = -math.inf, high: float = math.inf) -> float | None:
    """The finite number from `low` to `high` that `text` spells, else None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and low <= value <= high else None


def first_few(names: Sequence[object], count: int = 3) -> str:
    """The first names, for a message: "a, b, c, …"."""
    return ", ".join(map(str, names[:count])) + (", …" if len(names) > count else "")


def need_columns(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    """Refuse a table that lacks a column.

    Raises:
        InputError: a column is missing; names those that are there and those that are needed.
    """
    for column in columns:
        if column not in header:
            raise InputError(
                f"{path} has no column {column!r} in row 1; it has: {', '.join(header) or 'none'}. "
                f"This needs {', '.join(columns)}."
            )


def _suffix(path: Path, kind: str) -> str:
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise InputError(f"{path}: a {kind} ends in .csv or .parquet, not {suffix or 'nothing'!r}.")
    return suffix


def read_records(path: Path, kind: str, required: Sequence[str]) -> Records:
    """Read a .csv or .parquet file that must have the `required` columns.

    Raises:
        InputError: another suffix, no such file, not readable, or a column is missing.
    """
    suffix = _suffix(path, kind)
    if not path.is_file():
        raise InputError(f"There is no {kind} at {path}.")
    header, records = read_csv(path) if suffix == ".csv" else _read_parquet(path)
    need_columns(path, header, required)
    return records


def read_csv(path: Path) -> tuple[list[str], Records]:
    """The header and the (row number, cells by column) of a UTF-8 CSV; blank rows are skipped.

    Raises:
        InputError: not text, not CSV, two columns of one name, or a row with more cells than
            columns.
    """
    rows = read_cells(path)
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    twice = [name for name in header if name and header.count(name) > 1]
    if twice:
        raise InputError(f"{path} has two columns named {twice[0]!r} in row 1; rename one.")
    for number, cells in rows[1:]:
        if len(cells) > len(header):
            raise InputError(
                f"{path}, row {number}: {len(cells)} cells under {len(header)} columns; "
                "put a cell that holds a comma between double quotes."
            )
    return header, [(number, dict(zip(header, cells, strict=False))) for number, cells in rows[1:]]


def read_cells(path: Path) -> list[tuple[int, list[str]]]:
    """The (row number from 1, cells) of a UTF-8 CSV with its header; blank rows are skipped.

    Raises:
        InputError: no such file, not text, or not CSV.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [(number, cells) for number, cells in enumerate(csv.reader(file), 1) if cells]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a UTF-8 CSV file: {error}.") from error
    for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if rows and len(rows[0][1]) == 1 and mark in rows[0][1][0]:
            raise InputError(
                f"{path} separates its cells with {name}; a CSV needs commas, and numbers with a "
                "decimal point (3.5, not 3,5). Save it again in this form."
            )
    return rows


def _read_parquet(path: Path) -> tuple[list[str], Records]:
    table = read_parquet(path)
    header = table.column_names
    if twice := [name for name in header if header.count(name) > 1]:
        raise InputError(f"{path} has two columns named {twice[0]!r}; rename one.")
    return header, list(enumerate(table.to_pylist(), 2))


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> Any:
    """A Parquet file as a `pyarrow.Table`, of the given columns or all; every cell can be read.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    pa = require("pyarrow", "data")
    parquet = require("pyarrow.parquet", "data")
    try:
        with path.open("rb") as file:  # pyarrow takes no name that is not UTF-8
            table = parquet.ParquetFile(file).read(columns=columns)
        table.validate(full=True)  # offsets that lie outside, and text that is none
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as a Parquet file: {error}") from error
    return table


def write_records(
    records: list[dict[str, Any]], columns: Mapping[str, type], path: Path, kind: str
) -> None:
    """Write records as .csv or .parquet in one step; `columns` maps each name to its type."""

    def write_csv(target: Path) -> None:
        with target.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(columns), lineterminator="\n")
            writer.writeheader()
            writer.writerows(records)

    def write_parquet(target: Path) -> None:
        pa = require("pyarrow", "data")
        arrow = {float: pa.float64(), int: pa.int64(), str: pa.string()}
        schema = pa.schema([(name, arrow[kind]) for name, kind in columns.items()])
        table = pa.Table.from_pylist(records, schema)
        with target.open("wb") as file:
            require("pyarrow.parquet", "data").write_table(table, file)

    replace_atomically(path, write_csv if _suffix(path, kind) == ".csv" else write_parquet)
