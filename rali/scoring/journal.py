"""Rows of scores in a CSV or JSON-lines file that grows as they come, and is resumed after a kill.

In: rows, one at a time. Out: the file; its bytes leave the process once a second, so a kill loses
the last second at most. On opening, a last line that was cut is dropped.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from rali.errors import InputError
from rali.files import from_json, replace_atomically

from .keys import Keys

TEXTS = ("image", "why", "error")  # columns of text in a CSV; the others hold numbers


class Journal:
    """A file of rows; a context manager, whose end writes all to the disk.

    Args:
        path: made when it does not exist. A name that ends in .csv is a CSV, any other JSON lines,
            unless `form` says "csv" or "jsonl".
        columns: of a row, in their order.
        retry: rows without a score are not done; each stays until another of its key is written,
            and after a kill both stand there until the next opening.

    Attributes:
        done: the keys of the rows that were there on opening, and need not be made again.
        rows, failed, total: how many rows there are, how many of them have no score, and the sum
            of the scores.

    Raises:
        InputError: on entering: the file has other columns, or a line that is no row.
    """

    def __init__(
        self, path: Path, columns: Sequence[str], form: str, *, retry: bool = False
    ) -> None:
        self.path, self.columns, self.form = path, tuple(columns), form
        self._retry, self._again, self._replaced = retry, Keys(), 0
        self.rows = self.failed = 0
        self.total = 0.0
        self._pending: list[bytes] = []
        self._written = 0.0

    def __enter__(self) -> Self:
        self.path.touch()
        failed: list[str] = []
        self.done = Keys(self._resume(failed))
        if self.done.repeated:  # a retry was killed
            self._drop_replaced()
            failed.clear()
            self.done = Keys(self._resume(failed))
        if self._retry:
            self._again = Keys(failed)
            self.done = self.done.without(self._again)
        self._open()
        return self

    def _open(self) -> None:
        self._file = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        os.ftruncate(self._file, self._end)
        os.lseek(self._file, self._end, os.SEEK_SET)
        if not self._end and self.form == "csv":
            self._pending.append(csv_line(self.columns))

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self.flush()
            os.fsync(self._file)
        finally:
            os.close(self._file)
        if self._replaced and error is None:  # else the next opening does it
            self._drop_replaced()

    def write(self, row: Mapping[str, Any]) -> None:
        """Add a row; it leaves the process within a second, or with the next row."""
        self._pending.append(row_line(row, self.columns, self.form))
        if row["image"] in self._again:
            self._replaced += 1
            self.rows, self.failed = self.rows - 1, self.failed - 1
        self._count(row)
        if time.monotonic() - self._written > 0.5:
            self.flush()

    def flush(self) -> None:
        """Hand what is pending to the system; where the disk is full, no half line stays."""
        data = b"".join(self._pending)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            os.ftruncate(self._file, self._end)
            os.lseek(self._file, self._end, os.SEEK_SET)
            raise
        self._end += len(data)
        self._pending.clear()
        self._written = time.monotonic()

    def read(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Each row with its place in the file, for `row_at`."""
        self.flush()
        if self._replaced:
            os.close(self._file)
            try:
                self._drop_replaced()
            finally:
                self._end = self.path.stat().st_size
                self._open()
        yield from self._rows()

    def row_at(self, place: int) -> dict[str, Any]:
        """The row at a place that `read` gave."""
        with self.path.open("rb") as file:
            file.seek(place)
            return self._row(next(line for _, line in _lines_in(file, self.form)), place)

    def _count(self, row: Mapping[str, Any]) -> None:
        self.rows += 1
        self.failed += row["score"] is None
        self.total += row["score"] or 0.0

    def _resume(self, failed: list[str]) -> Iterator[str]:
        """The keys of all rows, which are counted; those without a score are added to `failed`."""
        self.rows = self.failed = self._end = 0
        self.total = 0.0
        for start, line in _lines(self.path, self.form):
            if not start and self.form == "csv":
                if line.rstrip(b"\r\n") != csv_line(self.columns).rstrip():
                    raise InputError(
                        f"{self.path} has other columns than {', '.join(self.columns)}. Give "
                        "another file, or --restart to replace this one."
                    )
            else:
                row = self._row(line, start)
                self._count(row)
                if row["score"] is None:
                    failed.append(row["image"])
                yield row["image"]
            self._end = start + len(line)

    def _drop_replaced(self) -> None:
        """Write the file anew without the rows that have no score and another row of their key."""
        last: dict[str, int] = {}
        for start, row in self._rows():
            if row["score"] is None or row["image"] in last:
                last[row["image"]] = start

        def kept() -> Iterator[bytes]:
            for start, line in _lines(self.path, self.form):
                header = not start and self.form == "csv"
                if header or last.get(self._row(line, start)["image"], start) == start:
                    yield line

        def write(target: Path) -> None:
            with target.open("wb") as file:
                file.writelines(kept())

        replace_atomically(self.path, write, durable=True)
        self._replaced = 0

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for start, line in _lines(self.path, self.form):
            if start or self.form != "csv":
                yield start, self._row(line, start)

    def _row(self, line: bytes, start: int) -> dict[str, Any]:
        try:
            if self.form == "jsonl":
                row = from_json(line)
                if list(row) == list(self.columns):
                    return dict(row)
            else:
                cells = next(csv.reader(io.StringIO(line.decode(), newline="")))
                if len(cells) == len(self.columns):
                    return {
                        name: cell or None if name in TEXTS else float(cell) if cell else None
                        for name, cell in zip(self.columns, cells, strict=True)
                    }
        except (ValueError, TypeError, StopIteration):
            pass
        raise InputError(
            f"{self.path} is damaged at byte {start:,}: there is no row of "
            f"{', '.join(self.columns)}. Repair it, or give --restart to replace it."
        )


def row_line(row: Mapping[str, Any], columns: Sequence[str], form: str) -> bytes:
    """A row as a line of CSV or JSON."""
    if form == "jsonl":
        values = {name: row[name] for name in columns}
        return json.dumps(values, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
    return csv_line([why_text(row[name]) if name == "why" else row[name] for name in columns])


def csv_line(cells: Sequence[Any]) -> bytes:
    """Cells as a line of CSV."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue().encode("utf-8", "backslashreplace")


def why_text(why: Any) -> str:
    """The column `why` as text."""
    if why is None or isinstance(why, str):
        return why or ""
    return "; ".join(f"{one['phrase']} ({one['probability']:.0%})" for one in why)


def reasons_of(why: str | Iterable[Mapping[str, Any]]) -> list[tuple[str, float]]:
    """Each phrase with its probability, of the column `why` in any form: a CSV's is rounded."""
    if not isinstance(why, str):
        return [(one["phrase"], one["probability"]) for one in why]
    found = re.findall(r"(.+?) \((\d+)%\)(?:; |$)", why)
    return [(phrase, int(percent) / 100) for phrase, percent in found]


def _lines(path: Path, form: str) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        yield from _lines_in(file, form)


def _lines_in(file: Any, form: str) -> Iterator[tuple[int, bytes]]:
    """Whole lines with their places; in a CSV a cell between quotes may hold line ends."""
    start, parts, quotes = file.tell(), b"", 0
    for piece in file:
        parts += piece
        quotes += piece.count(b'"') if form == "csv" else 0
        if quotes % 2 == 0 and parts.endswith(b"\n"):
            yield start, parts
            start, parts, quotes = start + len(parts), b"", 0
