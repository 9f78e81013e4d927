"""Embeddings that another program made: Parquet with a picture's name and its vector in each row.

In: a file, or a folder of them, such as a curation run or `rali score --embeddings column` writes.
Out: entries whose picture is the vector, float32 [D], one after the other; or the vectors of given
pictures. A file is never in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rali.errors import InputError, require
from rali.pictures.entry import Entry, Unreadable
from rali.pictures.listed import ENCODER, chosen_column
from rali.pictures.paths import absolute, find_path
from rali.pictures.seen import Seen

from .matching import last_step, rows_of
from .tables import first_few, open_parquet

VECTOR = "embedding"
_ROWS = 4096  # read at once


class Features:
    """The rows of one Parquet file, or of a folder's, in the order of their names.

    Args:
        source: a `.parquet` file or a folder that holds some, at any depth. A row has its picture's
            name or path, and in the column `embedding` a list of floats of any precision.
        column: which column names the pictures; by default `image`, `file_name`, `path` or `url`.

    Attributes:
        encoder: what made the vectors, if the files say so in their metadata (`encoder`); else "".
        count: how many rows there are.

    Raises:
        InputError: there is no such file, it is not Parquet, a column is missing or holds something
            else, or files are of two encoders.
    """

    def __init__(self, source: str | Path, column: str | None = None) -> None:
        self.source = Path(source)
        self.files = _files(self.source)
        self.count, encoders = 0, set[str]()
        self._columns = dict[Path, str]()
        for file in self.files:
            with open_parquet(file) as table:
                schema = table.schema_arrow
                self.count += table.metadata.num_rows
            self._columns[file] = chosen_column(str(file), schema.names, column)
            _check_vectors(file, schema)
            encoders.add((schema.metadata or {}).get(ENCODER, b"").decode("utf-8", "replace"))
        if len(encoders) > 1:
            raise InputError(
                f"The files in {source} are of different encoders: "
                f"{', '.join(sorted(name or 'one without a name' for name in encoders))}. "
                "Give the files of one."
            )
        self.encoder = encoders.pop()

    @cached_property
    def width(self) -> int:
        """D, the length of the first vector.

        Raises:
            InputError: no row has a vector.
        """
        for entry in self:
            if isinstance(entry.picture, np.ndarray):
                return len(entry.picture)
        raise InputError(f"{self.source} holds no vectors: all rows of {VECTOR!r} are empty.")

    def __iter__(self) -> Iterator[Entry]:
        """An entry per row: its name as it stands, and its vector or why there is none.

        Raises:
            InputError: a row without a name, or one name in two rows.
        """
        seen = Seen()
        for file in self.files:
            for number, key, cells, place in self._cells(file, VECTOR):
                if not seen.add(key):
                    raise InputError(_twice(file, number, key))
                yield Entry(key, _vector(cells, place, number))

    def of(self, pictures: Sequence[Path]) -> np.ndarray:
        """The vectors float32 [n, D] of pictures, which `rali.data.matching` finds by their names.

        Raises:
            InputError: a picture has no row, or one that holds no vector of D finite numbers.
        """
        asked = [absolute(picture, Path()) for picture in pictures]
        places = list(dict.fromkeys(asked))
        keys = self._keys({last_step(str(place)) for place in places})
        row_of = rows_of(places, keys)
        if missing := [place for place in places if place not in row_of]:
            raise InputError(
                f"{len(missing):,} of {len(places):,} pictures have no embedding in {self.source}, "
                f"or not in one row alone: {first_few(missing)}. Embed them too, or leave them out "
                "of the manifest."
            )
        index_of = {keys[row_of[place]]: index for index, place in enumerate(places)}
        found = np.empty((len(places), self.width), np.float32)
        for entry in self:
            if (index := index_of.get(entry.key)) is None:
                continue
            if isinstance(entry.picture, Unreadable):
                raise InputError(f"{self.source}, {entry.key}: {entry.picture.reason}")
            if len(entry.picture) != self.width:
                raise InputError(
                    f"{self.source}, {entry.key}: its embedding has {len(entry.picture)} numbers, "
                    f"the first one {self.width}. Give embeddings of one encoder."
                )
            found[index] = entry.picture
        position = {place: index for index, place in enumerate(places)}
        return found[[position[place] for place in asked]]

    def _keys(self, names: Set[str]) -> dict[Path, str]:
        """The rows' keys by their paths; of a whole crawl only those that end in one of `names`."""
        keys: dict[Path, str] = {}
        for file in self.files:
            for number, key, _, _ in self._cells(file):
                if last_step(key) not in names:
                    continue
                if (place := find_path(key, file.parent)) in keys:
                    raise InputError(_twice(file, number, key))
                keys[place] = key
        return keys

    def _cells(self, file: Path, *more: str) -> Iterator[tuple[int, str, Any, int]]:
        """(row from 0, key, cells of a batch of the first of `more`, place in it)."""
        name, number = self._columns[file], 0
        with open_parquet(file) as table:
            for batch in table.iter_batches(_ROWS, columns=[name, *more]):
                cells = _Cells(batch.column(more[0])) if more else None
                for place, key in enumerate(batch.column(name).to_pylist()):
                    if not isinstance(key, str) or not key.strip():
                        raise InputError(
                            f"{file}, row {number}, column {name!r}: {key!r} is no picture's name."
                        )
                    yield number, key, cells, place
                    number += 1


class _Cells:
    """The vectors of a batch: offsets into one array of all their numbers."""

    def __init__(self, column: Any) -> None:
        lengths = require("pyarrow.compute", "data").list_value_length(column)
        self.there = column.is_valid().to_numpy(zero_copy_only=False)
        self.lengths = lengths.fill_null(0).to_numpy(zero_copy_only=False) * self.there
        self.ends = self.lengths.cumsum()
        numbers = column.drop_null().flatten()
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinity, and told
            self.numbers = numbers.to_numpy(zero_copy_only=False).astype(np.float32)


def _vector(cells: _Cells, place: int, number: int) -> np.ndarray | Unreadable:
    if not cells.there[place] or not cells.lengths[place]:
        return Unreadable(f"Row {number} has no embedding.")
    end = cells.ends[place]
    vector = cells.numbers[end - cells.lengths[place] : end]
    if not np.isfinite(vector).all():  # a number that is not there is NaN too
        return Unreadable(f"The embedding in row {number} holds NaN or infinity.")
    return vector


def _twice(file: Path, number: int, key: str) -> str:
    return f"{file}, row {number}: {key} is there already. Keep one embedding of each picture."


def _check_vectors(file: Path, schema: Any) -> None:
    types = require("pyarrow", "data").types
    if VECTOR not in schema.names:
        raise InputError(
            f"{file} has no column {VECTOR!r}; it has: {', '.join(schema.names) or 'none'}. Name "
            "the column of vectors so."
        )
    kind = schema.field(VECTOR).type
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    if not lists or not types.is_floating(kind.value_type):
        raise InputError(
            f"{file}: column {VECTOR!r} holds {kind}; expected lists of floats, such as "
            "pyarrow.list_(pyarrow.float32())."
        )


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        if files := sorted(source.rglob("*.parquet")):
            return files
        raise InputError(f"There is no .parquet file in {source}.")
    if source.suffix.lower() != ".parquet":
        raise InputError(
            f"{source}: embeddings are read from .parquet, which also holds the pictures' names; "
            "such as: rali score photos/ --embeddings column -o embeddings.parquet"
        )
    if not source.is_file():
        raise InputError(f"There is no file {source}.")
    return [source]
