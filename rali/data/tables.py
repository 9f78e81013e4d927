"""CSV and Parquet tables as lists of (row number, cells), for manifests and pairs.

In: a path. Out: records, one dict of cells a row; the header is row 1. The rules that all tables
share are here too: paths stored relative to the file, columns that must be there, numbers in cells.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rali.errors import InputError, require
from rali.files import replace_atomically
from rali.pictures.listed import holds_pictures, iter_cells
from rali.pictures.paths import path_text

Records = list[tuple[int, Mapping[str, Any]]]


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


def read_records(
    path: Path, kind: str, required: Sequence[str], columns: Sequence[str], *, pictures: str = ""
) -> Records:
    """Read a .csv or .parquet file that must have the `required` columns.

    Args:
        columns: what is read of a Parquet file, where it is there.
        pictures: the column whose cells may be pictures themselves; they are not read, and each
            record has the picture's path instead, as in `train.parquet#17`.

    Raises:
        InputError: another suffix, no such file, not readable, a column is missing, or one that
            should be text holds pictures.
    """
    suffix = _suffix(path, kind)
    if not path.is_file():
        raise InputError(f"There is no {kind} at {path}.")
    header, records = (
        read_csv(path) if suffix == ".csv" else _read_parquet(path, kind, columns, pictures)
    )
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
    return list(iter_cells(path))


def _read_parquet(
    path: Path, kind: str, columns: Sequence[str], pictures: str
) -> tuple[list[str], Records]:
    with open_parquet(path) as file:
        fields = list(file.schema_arrow)
    header = [field.name for field in fields]
    if twice := [name for name in header if header.count(name) > 1]:
        raise InputError(f"{path} has two columns named {twice[0]!r}; rename one.")
    inside = [each.name for each in fields if each.name in columns and holds_pictures(each.type)]
    for name in inside:
        if name != pictures:
            raise InputError(
                f"{path}: column {name!r} holds bytes or pictures; a {kind} needs text or numbers "
                "there. Write it anew without this column, or with paths in it."
            )
    table = read_parquet(path, [name for name in header if name in columns and name not in inside])
    rows = table.to_pylist() if table.num_columns else [{} for _ in range(table.num_rows)]
    for number, row in enumerate(rows):
        row.update((name, path_text(f"{path.name}#{number}")) for name in inside)
    return header, list(enumerate(rows, 2))


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> Any:
    """A Parquet file as a `pyarrow.Table`, of the given columns or all; every cell can be read.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    with open_parquet(path) as file:
        table = file.read(columns=columns)
        table.validate(full=True)  # offsets that lie outside, and text that is none
        return table


@contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    """A `pyarrow.parquet.ParquetFile` during a block.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    pa = require("pyarrow", "data")
    parquet = require("pyarrow.parquet", "data")
    try:
        with path.open("rb") as file:  # pyarrow takes no name that is not UTF-8
            yield parquet.ParquetFile(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as a Parquet file: {error}") from error


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
