"""Rows of scores as a table, CSV, JSON lines, Parquet, and their vectors as NumPy's `.npy`.

In: columns, and a function that gives the rows from the first on, as often as it is called. Out: a
file, or text on the screen; never more than some thousand rows in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rali.errors import printable, require
from rali.scoring.journal import TEXTS, csv_line, row_line, why_text
from rali.scoring.rows import arrow_schema

ON_SCREEN = 1000  # rows; a longer table is plain text
Rows = Callable[[], Iterator[Mapping[str, Any]]]


def write_rows(
    rows: Rows,
    columns: Sequence[str],
    form: str,
    path: Path,
    metadata: Mapping[bytes, bytes] | None = None,
) -> None:
    """Write rows to a file; Parquet holds `metadata` too."""
    with path.open("wb") as file:  # pyarrow takes no name that is not UTF-8
        if form == "parquet":
            _write_parquet(rows, columns, file, metadata)
        else:
            file.writelines(lines(rows, columns, form))


def lines(rows: Rows, columns: Sequence[str], form: str) -> Iterator[bytes]:
    """The lines of a table, CSV or JSON lines."""
    if form == "table":
        yield from (line.encode("utf-8", "backslashreplace") for line in _table(rows, columns))
        return
    if form == "csv":
        yield csv_line(columns)
    for row in rows():
        yield row_line(row, columns, form)


def show(rows: Rows, columns: Sequence[str], form: str) -> None:
    """Print rows on standard output; on a terminal, a table is drawn."""
    few = form == "table" and sys.stdout.isatty()
    if few and sum(1 for _ in islice(rows(), ON_SCREEN + 1)) <= ON_SCREEN:
        _draw(list(rows()), columns)
        return
    for line in lines(rows, columns, form):
        sys.stdout.write(line.decode())
    sys.stdout.flush()  # a disk that is full is told here


def write_vectors(rows: Rows, path: Path) -> None:
    """Write the column `embedding` as float32 [n, D]; rows without a score are NaN."""
    import numpy as np

    count, width = 0, 0
    for row in rows():
        count += 1
        width = width or len(row["embedding"] or ())
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for row in rows():
            vector = row["embedding"] or [float("nan")] * width
            file.write(np.asarray(vector, "<f4").tobytes())


def _write_parquet(
    rows: Rows, columns: Sequence[str], file: Any, metadata: Mapping[bytes, bytes] | None
) -> None:
    pa = require("pyarrow", "data")
    parquet = require("pyarrow.parquet", "data")
    schema, remaining = arrow_schema(columns).with_metadata(metadata), rows()
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := list(islice(remaining, 10_000)):
            writer.write_table(pa.Table.from_pylist(group, schema))


def _table(rows: Rows, columns: Sequence[str]) -> Iterator[str]:
    width = max((len(_cell(row, "image")) for row in rows()), default=5)
    for cells in chain([columns], ([_cell(row, name) for name in columns] for row in rows())):
        middle = [f"{cell:>5}" for cell in cells[1:-1]]
        yield "  ".join([f"{cells[0]:<{max(width, 5)}}", *middle, cells[-1]]).rstrip() + "\n"


def _cell(row: Mapping[str, Any], name: str) -> str:
    value = why_text(row[name]) if name == "why" else row[name]
    return "" if value is None else printable(value) if isinstance(value, str) else f"{value:.3f}"


def _draw(rows: list[Mapping[str, Any]], columns: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    failed = any(row["error"] for row in rows)
    shown = columns if failed else columns[:-1]
    table = Table()
    for column in shown:
        if column in TEXTS:
            table.add_column(column, overflow="fold", style="red" if column == "error" else None)
        else:
            table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(_cell(row, name)) for name in shown))
    Console().print(table)
