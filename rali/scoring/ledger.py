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
from typing import Any, Generic, Self

from rali.errors import InputError, require
from rali.files import from_json, replace_atomically
from rali.runs.folder import alone_in

from .keys import E, Keys, New
from .rows import arrow_schema, differences, encoder_of

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
        retry: rows without a score are not done; each stays until the end, or the next opening
            after a kill, and goes where another row of its key has been written.

    Attributes:
        done: the keys that have a row, and need no other.
        again: those of the rows that are to be replaced.
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
        retry: bool = False,
    ) -> None:
        require("pyarrow", "data")
        self.folder, self.settings, self.columns = folder, dict(settings), tuple(columns)
        self.done = self.again = Keys()
        self.rows = self.failed = 0
        self.total = 0.0
        self._say, self._restart, self._retry = say, restart, retry
        self._shards: dict[str, dict[str, Any]] = {}
        self._noted: dict[str, list[dict[str, Any]]] = {}
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
            if self.done.repeated:  # a retry was killed
                self.drop_replaced()
                self.done = Keys(self._keys())
            if self._retry:
                self.again = Keys(self._keys(failed=True))
                self.done = self.done.without(self.again)
            self._open = entered.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
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
        schema = arrow_schema(self.columns)
        if isinstance(rows, pa.Table):
            table = rows.select(self.columns).cast(schema)
        else:
            table = pa.Table.from_pylist(list(rows), schema)
        if not table.num_rows:
            return
        note = json.dumps(self.settings, sort_keys=True).encode()
        named = encoder_of(self.columns, self.settings)
        table = table.replace_schema_metadata({_SETTINGS: note, **named})
        data = _as_bytes(table)
        path = self.folder / f"part-{self.reserve() if index is None else index:06d}.parquet"
        replace_atomically(path, lambda target: target.write_bytes(data), durable=True)
        self._note(path.name, data, table)

    def read(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """All rows, shard by shard; of some columns only where they are given."""
        parquet = require("pyarrow.parquet", "data")
        for name in sorted(self._shards):
            with (self.folder / name).open("rb") as file:
                for batch in parquet.ParquetFile(file).iter_batches(columns=columns):
                    yield from batch.to_pylist()

    def drop_replaced(self) -> None:
        """Write the shards anew that hold rows without a score and without need: their key has
        another row, in a later shard.
        """
        last = dict.fromkeys(self._keys(failed=True), "")
        if not last:
            return
        for name, key in self._named_keys():
            if key in last:
                last[key] = name
        for name in sorted(self._shards):
            if self._shards[name]["failed"]:
                self._rewrite(name, last)

    def _rewrite(self, name: str, last: Mapping[str, str]) -> None:
        pa, path = require("pyarrow", "data"), self.folder / name
        table = require("pyarrow.parquet", "data").ParquetFile(path).read()
        kept = [last.get(key, name) == name for key in table["image"].to_pylist()]
        if all(kept):
            return
        rest = table.filter(pa.array(kept))
        data = _as_bytes(rest)
        # Noted first: a kill between leaves the old shard, which the line before tells of.
        self._note(name, data, rest)
        replace_atomically(path, lambda target: target.write_bytes(data), durable=True)

    def _named_keys(self, failed: bool = False) -> Iterator[tuple[str, str]]:
        """Each row's shard and key; of those without a score alone if `failed` says so."""
        for name in sorted(self._shards):
            if failed and not self._shards[name]["failed"]:
                continue
            table = _table((self.folder / name).read_bytes())
            if failed:
                table = table.filter(table["score"].is_null())
            yield from ((name, key) for key in table["image"].to_pylist())

    def _keys(self, failed: bool = False) -> Iterator[str]:
        return (key for _, key in self._named_keys(failed))

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))

    def _note(self, name: str, data: bytes, table: Any) -> None:
        keys = table["image"]
        line = {
            "file": name,
            "rows": table.num_rows,
            "failed": table["score"].null_count,
            "total": round(require("pyarrow.compute", "data").sum(table["score"]).as_py() or 0, 6),
            "first": keys[0].as_py() if len(keys) else "",
            "last": keys[-1].as_py() if len(keys) else "",
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        self._append(line)
        self._count(line)

    def _count(self, line: dict[str, Any]) -> None:
        if before := self._shards.get(line["file"]):
            self.rows -= before["rows"]
            self.failed -= before["failed"]
            self.total -= before["total"]
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
        shards: dict[str, list[dict[str, Any]]] = {}
        if path.exists():
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]  # a kill may have cut the last line
            if len(whole) < len(data):
                os.truncate(path, len(whole))
            try:
                lines = [from_json(line) for line in whole.splitlines()]
                self._refuse_others(lines[0]["settings"] if lines else self.settings)
                for line in lines[1:]:
                    shards.setdefault(line["file"], []).append(line)
            except (ValueError, KeyError, TypeError):
                # Each shard holds the settings too, and is counted anew.
                self._say(f"{path} is damaged and is made again from the shards beside it.")
                path.unlink()
                lines, shards = [], {}
            self._noted = {
                name: [line for line in own if "lost" not in line]
                for name, own in shards.items()
                if "lost" not in own[-1]
            }
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
        known, self._noted = self._noted, {}
        for path in self._parts():
            self._next = max(self._next, int(re.sub(r"\D", "", path.stem) or 0) + 1)
        for name, lines in known.items():
            path = self.folder / name
            data = path.read_bytes() if path.is_file() else b""
            sha256 = hashlib.sha256(data).hexdigest()
            # One that is written anew has a line more; a kill may have kept the shard before.
            line = next((each for each in reversed(lines) if each["sha256"] == sha256), None)
            if line is None:
                what, rows = "is damaged" if data else "is missing", lines[-1]["rows"]
                self._say(f"{path} {what}: its {rows:,} rows are made again.")
                path.unlink(missing_ok=True)
                self._append({"file": name, "lost": rows})
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


def _as_bytes(table: Any) -> bytes:
    buffer = require("pyarrow", "data").BufferOutputStream()
    require("pyarrow.parquet", "data").write_table(table, buffer, compression="zstd")
    return bytes(buffer.getvalue().to_pybytes())


def _table(data: bytes) -> Any:
    pa = require("pyarrow", "data")
    columns = ["image", "score"]
    return require("pyarrow.parquet", "data").ParquetFile(pa.BufferReader(data)).read(columns)
