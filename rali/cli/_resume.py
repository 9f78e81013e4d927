"""Where `rali score` keeps its rows while it runs, so that the same command resumes.

A CSV or JSON-lines file that holds all rows is written as they come. Any other output (a table,
Parquet, a selection) is made at the end from rows in `.NAME.rali/rows.jsonl` beside it. That folder
holds the settings, what tables held and the lock too. An output without a suffix is a folder of
shards.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from rali.errors import InputError
from rali.pictures.sources import Entries
from rali.runs.folder import alone_in, read_claim, remove_own, write_json
from rali.scoring.journal import Journal, csv_line, row_line
from rali.scoring.keys import Keys
from rali.scoring.ledger import UNIT, Ledger
from rali.scoring.numbered import Numbered
from rali.scoring.rows import differences

from ._output import side_folder

RESTART = "Give another file, or --restart to begin this one again."


@contextmanager
def file_journal(
    output: Path,
    columns: Sequence[str],
    settings: Mapping[str, Any],
    form: str,
    *,
    direct: bool,
    restart: bool,
    retry: bool = False,
) -> Iterator[Journal]:
    """The journal of an output file, with the rows that it holds already.

    Args:
        direct: the output itself is the journal.
        retry: rows without a score are made again.

    Raises:
        InputError: the file was made by something else or with other settings, or another process
            is writing it.
    """
    side = side_folder(output)
    fresh = not side.exists()
    with alone_in(side):
        note = side / "settings.json"
        path = output if direct else side / "rows.jsonl"
        noted = {} if restart else read_claim(note)
        there = output.exists() and output.stat().st_size > 0
        if noted and not there and (direct or noted.get("finished")):
            noted = {}  # the output was deleted: its rows are not wanted any more
        elif not noted and there and not restart:
            if fresh:
                remove_own(side)
            raise InputError(f"{output} is there, and not from this command. {RESTART}")
        if noted:
            if other := differences(noted["settings"], settings):
                raise InputError(f"The rows in {output} were made with {other}. {RESTART}")
            if noted["direct"] != direct:
                kind = "all rows" if noted["direct"] else "a selection of rows"
                raise InputError(f"{output} was begun to hold {kind}, unlike now. {RESTART}")
        else:
            path.unlink(missing_ok=True)
            (side / "rows.jsonl").unlink(missing_ok=True)
        now = {"settings": dict(settings), "direct": direct, "finished": False}
        write_json(now, note)
        opened, before = None, 0
        try:
            with Journal(path, columns, form if direct else "jsonl", retry=retry) as opened:
                before = opened.rows
                yield opened
        except InputError:
            if opened and opened.rows == before and noted.get("finished"):
                write_json({**now, "finished": True}, note)  # refused: the output is what it was
            # Such as a folder without pictures: leave no empty file. A file of others stays.
            if opened and not opened.rows:
                path.unlink(missing_ok=True)
                remove_own(side, "settings.json", "rows.jsonl", "tables.jsonl")
            raise
        write_json({**now, "finished": True}, note)


def compared(output: Path, sink: Any, entries: Any, *, by_ray: bool) -> Any:
    """The entries for an open output, whose tables must hold what they held for its rows.

    Tables that can be told from the sources are compared now, others as they come, and each is
    noted with its first row. Ray takes the sources themselves: a list on standard input is read to
    its end before it begins.

    Raises:
        InputError: a table holds something else.
    """
    if not isinstance(entries, Entries):  # embeddings, which are known by names
        return entries
    shards = isinstance(sink, Shards)
    note = sink.ledger.folder / "_tables.jsonl" if shards else side_folder(output) / "tables.jsonl"
    tables = Numbered(note, output, fresh=not sink.rows)
    for first in entries.tables(wait=by_ray):
        tables.check(first, note=by_ray)
    return entries if by_ray else tables.watching(entries)


class Shards:
    """A folder's ledger as something that takes rows one at a time."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self._pending = ledger, list[Mapping[str, Any]]()
        self._failed, self._total, self._replaced = 0, 0.0, 0

    @property
    def done(self) -> Keys:
        return self.ledger.done

    @property
    def rows(self) -> int:
        return self.ledger.rows + len(self._pending) - self._replaced

    @property
    def failed(self) -> int:
        return self.ledger.failed + self._failed - self._replaced

    @property
    def total(self) -> float:
        return self.ledger.total + self._total

    def write(self, row: Mapping[str, Any]) -> None:
        self._pending.append(row)
        self._failed += row["score"] is None
        self._total += row["score"] or 0.0
        self._replaced += row["image"] in self.ledger.again
        if len(self._pending) >= UNIT:
            self._shard()

    def _shard(self) -> None:
        self.ledger.write(self._pending)
        self._pending, self._failed, self._total = [], 0, 0.0

    def __enter__(self) -> Self:
        with ExitStack() as entered:
            entered.enter_context(self.ledger)
            self._open = entered.pop_all()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with self._open:
            self._shard()
            if self._replaced and error is None:  # else the next opening does it
                self.ledger.drop_replaced()
                self._replaced = 0  # the ledger's counts are without them now


class Screen:
    """Rows that go to standard output as they come."""

    def __init__(self, columns: Sequence[str], form: str, wanted: Any) -> None:
        self.columns, self.form, self._wanted = columns, form, wanted
        self.done = Keys()
        self.rows = self.failed = 0
        self.total = self._shown = 0.0

    def __enter__(self) -> Self:
        if self.form == "csv":
            sys.stdout.write(csv_line(self.columns).decode())
        return self

    def __exit__(self, *error: object) -> None:
        sys.stdout.flush()  # a disk that is full is told here

    def write(self, row: Mapping[str, Any]) -> None:
        self.rows += 1
        self.failed += row["score"] is None
        self.total += row["score"] or 0.0
        if self._wanted(row):
            sys.stdout.write(row_line(row, self.columns, self.form).decode())
            if time.monotonic() - self._shown > 0.2:
                sys.stdout.flush()
                self._shown = time.monotonic()
