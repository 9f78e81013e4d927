"""Rows of scores in Parquet shards, with a ledger of the finished ones; knows not who scores.

In: rows, thousands at a time. Out: a folder that pyarrow, DuckDB or Polars read whole,

    OUTPUT/model=<name>-<first 8 of the weights' SHA-256>/part-000000.parquet, …
    OUTPUT/model=…/_ledger.jsonl

The ledger's first line holds the settings, and each further one a finished shard. A shard appears
whole or not at all, and its rows count as done from then on. A row is known by its key, so input
may grow anywhere: what has no row yet is new.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self

from rali.errors import InputError, require
from rali.files import from_json, replace_atomically
from rali.runs.folder import alone_in

from .keys import E, Keys, New
from .rows import arrow_schema, differences

LEDGER = "_ledger.jsonl"  # readers of a folder of Parquet files leave out what begins so
UNIT = 10_000
_SETTINGS = b"rali"  # in each shard's metadata


@dataclass(frozen=True)
class Unit(Generic[E]):
    """Entries that are scored together and become the shard of this index."""

    index: int
    entries: list[E]


def model_partition(output: Path, model: str | Path, weights_sha256: str) -> Path:
    """A model's folder in an output: `OUTPUT/model=builtin-0a1b2c3d`.

    The weights decide: one that is there keeps its name, whatever path the model is given by now.
    """
    for known in sorted(output.glob(f"model=*-{weights_sha256[:8]}")):
        return known
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", str(model).rstrip("/\\").replace("\\", "/"))
    return output / f"model={name.strip('-.')[-80:] or 'model'}-{weights_sha256[:8]}"


class Ledger:
    """The shards of one model in an output folder; a context manager that keeps others out.

        with Ledger(folder, settings, columns) as ledger:
            for unit in ledger.units(entries):
                ledger.write(rows_of(unit.entries), unit.index)

    Args:
        folder: `model_partition(OUTPUT, …)`; made when it does not exist.
        settings: JSON-able values that decide what a row holds, as `rows.settings_of` gives them.
        columns: of a row, as in `rows.COLUMNS`.
        say: told in a sentence what was found damaged and is made again.
        restart: delete what is there first.

    Attributes:
        done: the keys that have a row.
        rows, failed, total: how many rows there are, how many of them have no score, and the sum
            of the scores.

    Raises:
        InputError: on entering: another process is at work there, or the folder's rows were made
            with other settings.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        columns: Sequence[str],
        *,
        say: Callable[[str], object] = lambda sentence: None,
        restart: bool = False,
    ) -> None:
        require("pyarrow", "data")
        self.folder, self.settings, self.columns = folder, dict(settings), tuple(columns)
        self.done = Keys()
        self.rows = self.failed = 0
        self.total = 0.0
        self._say, self._restart = say, restart
        self._shards: dict[str, dict[str, Any]] = {}
        self._next = 0
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as entered:
            entered.enter_context(alone_in(self.folder))
            for left in self.folder.glob(".*.tmp"):  # of a killed process: this one is alone
                left.unlink()
            if self._restart:
                (self.folder / LEDGER).unlink(missing_ok=True)
                for shard in self._parts():
                    shard.unlink()
            self._read()
            self.done = Keys(self._check())
            self._open = entered.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def new(self, entries: Iterable[E]) -> New[E]:
        """The entries that have no row yet, in their order; may be pickled if they can."""
        return New(entries, self.done)

    def units(self, entries: Iterable[E], size: int = UNIT) -> Iterator[Unit[E]]:
        """The entries that have no row yet, `size` at a time, each unit with a shard's index."""
        remaining = iter(self.new(entries))
        while unit := list(islice(remaining, size)):
            yield Unit(self.reserve(), unit)

    def reserve(self) -> int:
        """An index that no other shard has."""
        self._next += 1
        return self._next - 1

    def write(self, rows: Any, index: int | None = None) -> None:
        """Write rows as one shard, and note it in the ledger; both are on the disk on return.

        Args:
            rows: mappings by column, or a `pyarrow.Table` with these columns.
            index: of `units`; by default a new one.
        """
        pa = require("pyarrow", "data")
        parquet = require("pyarrow.parquet", "data")
        schema = arrow_schema(self.columns)
        if isinstance(rows, pa.Table):
            table = rows.select(self.columns).cast(schema)
        else:
            table = pa.Table.from_pylist(list(rows), schema)
        if not table.num_rows:
            return
        note = json.dumps(self.settings, sort_keys=True).encode()
        buffer = pa.BufferOutputStream()
        parquet.write_table(
            table.replace_schema_metadata({_SETTINGS: note}), buffer, compression="zstd"
        )
        data = buffer.getvalue().to_pybytes()
        path = self.folder / f"part-{self.reserve() if index is None else index:06d}.parquet"
        replace_atomically(path, lambda target: target.write_bytes(data), durable=True)
        self._note(path.name, data, table)

    def read(self) -> Iterator[dict[str, Any]]:
        """All rows, shard by shard."""
        parquet = require("pyarrow.parquet", "data")
        for name in sorted(self._shards):
            with (self.folder / name).open("rb") as file:
                for batch in parquet.ParquetFile(file).iter_batches():
                    yield from batch.to_pylist()

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    def _note(self, name: str, data: bytes, table: Any) -> None:
        keys = table["image"]
        line = {
            "file": name,
            "rows": table.num_rows,
            "failed": table["score"].null_count,
            "total": round(require("pyarrow.compute", "data").sum(table["score"]).as_py() or 0, 6),
            "first": keys[0].as_py(),
            "last": keys[-1].as_py(),
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        self._append(line)
        self._count(line)

    def _count(self, line: dict[str, Any]) -> None:
        self._shards[line["file"]] = line
        self.rows += line["rows"]
        self.failed += line["failed"]
        self.total += line["total"]

    def _append(self, line: dict[str, Any]) -> None:
        with (self.folder / LEDGER).open("ab") as file:
            end = file.tell()
            try:
                file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            except OSError:  # the disk is full: no half line stays
                os.truncate(self.folder / LEDGER, end)
                raise

    def _read(self) -> None:
        """Fill `_shards` from the ledger; begin it where there is none."""
        path = self.folder / LEDGER
        lines: list[dict[str, Any]] = []
        if path.exists():
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]  # a kill may have cut the last line
            if len(whole) < len(data):
                os.truncate(path, len(whole))
            try:
                lines = [from_json(line) for line in whole.splitlines()]
                self._refuse_others(lines[0]["settings"] if lines else self.settings)
                shards = {line["file"]: line for line in lines[1:]}
            except (ValueError, KeyError, TypeError):
                # Each shard holds the settings too, and is counted anew.
                self._say(f"{path} is damaged and is made again from the shards beside it.")
                path.unlink()
                lines, shards = [], {}
            for line in shards.values():
                if "lost" not in line:
                    self._shards[line["file"]] = line
        if not lines:
            self._append({"settings": self.settings})

    def _refuse_others(self, settings: Mapping[str, Any]) -> None:
        if other := differences(settings, self.settings):
            raise InputError(
                f"The rows in {self.folder} were made with {other}. Give the same options, "
                "another folder, or --restart to delete these rows and begin again."
            )

    def _check(self) -> Iterator[str]:
        """Compare the shards with the ledger; yields the keys of those that are whole."""
        known, self._shards = self._shards, {}
        for path in self._parts():
            self._next = max(self._next, int(re.sub(r"\D", "", path.stem) or 0) + 1)
        for name, line in known.items():
            path = self.folder / name
            data = path.read_bytes() if path.is_file() else b""
            if hashlib.sha256(data).hexdigest() != line["sha256"]:
                what = "is damaged" if data else "is missing"
                self._say(f"{path} {what}: its {line['rows']:,} rows are made again.")
                path.unlink(missing_ok=True)
                self._append({"file": name, "lost": line["rows"]})
                continue
            self._count(line)
            yield from _table(data)["image"].to_pylist()
        for path in self._parts():
            if path.name not in known:  # killed between the shard and its line
                yield from self._adopt(path)

    def _adopt(self, path: Path) -> list[str]:
        """Note a whole shard that the ledger does not know."""
        pa = require("pyarrow", "data")
        data = path.read_bytes()
        try:
            table = _table(data)
            settings = from_json(table.schema.metadata[_SETTINGS])
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
            self._say(f"{path} is damaged, and is deleted; its rows are made again.")
            path.unlink()
            return []
        self._refuse_others(settings)
        self._note(path.name, data, table)
        keys: list[str] = table["image"].to_pylist()
        return keys


def _table(data: bytes) -> Any:
    pa = require("pyarrow", "data")
    columns = ["image", "score"]
    return require("pyarrow.parquet", "data").ParquetFile(pa.BufferReader(data)).read(columns)
