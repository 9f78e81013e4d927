"""Which tables gave an output the rows that are known by a number, and what those tables held.

In: entries, one after the other. Out: a refusal where `t.parquet#17` is no longer the picture that
it was when its row was made. A file beside the output has a line for each table, and the next run
compares. An output without this file is accepted as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rali.errors import InputError
from rali.pictures.entry import Entry
from rali.pictures.seals import Seal, grows, is_numbered, seal_of
from rali.runs.folder import add_row, read_rows


class Numbered:
    """The tables of one output.

    Args:
        note: the file beside the output.
        output: for sentences.
        fresh: the output has no rows yet, so that what the file says is forgotten.
    """

    def __init__(self, note: Path, output: Path, *, fresh: bool) -> None:
        self._note, self._output = note, output
        if fresh:
            note.unlink(missing_ok=True)
        rows = read_rows(note, "table", "column", "size", "sha256")
        self._noted: dict[str, dict[str, Any]] = {row["table"]: row for row in rows}
        self._checked = set[str]()

    def watching(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """The entries, each table checked before its first one.

        Raises:
            InputError: as `check` does.
        """
        for entry in entries:
            self.check(entry)
            yield entry

    def check(self, entry: Entry, *, note: bool = True) -> None:
        """Compare the table of a numbered picture with what it held; nothing of others.

        Args:
            note: a table that is new to the output, as rows of it follow.

        Raises:
            InputError: rows of it were made from another column, or before it was written anew.
        """
        picture, table = entry.picture, entry.key.rpartition("#")[0]
        if table in self._checked or not is_numbered(picture):
            return
        if note:
            self._checked.add(table)
        seal = seal_of(picture)
        now = {"table": table, "column": picture.column, **asdict(seal or Seal(0, ""))}
        noted = self._noted.get(table, now)
        again = "Give another --output, or --restart to begin this one again."
        if noted["column"] != picture.column:
            raise InputError(
                f"The rows of {table} in {self._output} were made with --column "
                f"{noted['column']}, not with {picture.column}. {again}"
            )
        if seal and noted["size"] and Seal(noted["size"], noted["sha256"]) != seal:
            longer = grows(picture) and seal.size > noted["size"]
            before = seal_of(picture, noted["size"]) if longer else seal
            if before != Seal(noted["size"], noted["sha256"]):
                raise InputError(
                    f"{table} has been written anew since its rows in {self._output} were made, "
                    f"and their numbers may mean other pictures now. {again}"
                )
        if not note:
            return
        if table not in self._noted or (seal and noted != now):
            add_row(now, self._note)
