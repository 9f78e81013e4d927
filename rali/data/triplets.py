"""Triplets: picture, score and rationale, one row per picture and seed, in Parquet shards.

In: `Triplet` objects from a teacher (or from the reference writer). Out: a folder of shards that
appear whole or not at all. A run that is killed loses only what was not yet flushed, and the next
run, which looks at `done` first, writes exactly what is missing.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from rali.errors import InputError, require
from rali.files import replace_atomically
from rali.pictures.inside import is_there, picture_sha256
from rali.pictures.paths import absolute, resolve_path

from .manifest import Row
from .tables import read_parquet, stored_path


@dataclass(frozen=True)
class Triplet:
    """What a teacher wrote about one picture with one seed.

    Attributes:
        image: the picture's absolute path (in the file: relative to the shards' folder).
        image_sha256: SHA-256 of the picture file, in hexadecimal.
        score: the manifest's score, 1–5; None when unlabelled.
        reasoning: the rationale (a reasoning model's text inside <think>).
        raw_text: everything the teacher wrote.
        teacher_score: the score the teacher gave, 1–5; None when it could not be parsed.
        teacher: who wrote it: a model's name, or "reference".
        prompt: the teacher's prompt.
        seed: the random seed of this text.
        parse_ok: whether rationale and score could be read from `raw_text`.
    """

    image: Path
    image_sha256: str
    score: float | None
    reasoning: str
    raw_text: str
    teacher_score: float | None
    teacher: str
    prompt: str
    seed: int
    parse_ok: bool


FIELDS = tuple(field.name for field in fields(Triplet))
_MAY_BE_EMPTY = ("score", "teacher_score")


class TripletWriter:
    """Adds triplets to a folder of shards; several processes may write to one folder.

    Use it as a context manager: what is pending is written when the block ends, also by an error.

    Args:
        folder: made when it does not exist.
        shard_size: triplets per shard; a kill loses at most this many.

    Attributes:
        done: the (absolute path, seed) pairs already in the folder or added.
    """

    def __init__(self, folder: str | Path, shard_size: int = 1024) -> None:
        if shard_size < 1:
            raise InputError(f"shard_size is {shard_size}; expected at least 1.")
        require("pyarrow", "data")
        self.folder = Path(folder)
        self.shard_size = shard_size
        self.done: set[tuple[Path, int]] = set()
        self._pending: list[Triplet] = []
        for shard in _shards(self.folder):
            for record in _read_shard(shard, ["image", "seed"]):
                self.done.add((resolve_path(record["image"], self.folder), record["seed"]))

    def add(self, triplets: Iterable[Triplet]) -> int:
        """Add triplets, except (image, seed) pairs that are done; returns how many are new."""
        new = 0
        for triplet in triplets:
            key = (absolute(triplet.image, Path.cwd()), triplet.seed)
            if key in self.done:
                continue
            self.done.add(key)
            self._pending.append(triplet)
            new += 1
            if len(self._pending) >= self.shard_size:
                self.flush()
        return new

    def flush(self) -> None:
        """Write what is pending as one shard."""
        if not self._pending:
            return
        shards = _shards(self.folder)
        index = 1 + max((_index(shard) for shard in shards), default=-1)
        # The random part keeps two processes that count alike from overwriting each other.
        path = self.folder / f"triplets-{index:05d}-{uuid.uuid4().hex[:8]}.parquet"
        records = [_to_record(triplet, self.folder) for triplet in self._pending]
        replace_atomically(path, lambda target: _write_shard(records, target))
        self._pending = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.flush()


def write_triplets(folder: str | Path, triplets: Iterable[Triplet], shard_size: int = 1024) -> int:
    """Add triplets to a folder of shards, except those it has; returns how many are new."""
    with TripletWriter(folder, shard_size) as writer:
        return writer.add(triplets)


def read_triplets(path: str | Path) -> list[Triplet]:
    """Read a folder of shards, or one shard, in the order written.

    An (image, seed) pair that two processes both wrote is returned once.

    Raises:
        InputError: no shard there, or one that cannot be read.
    """
    path = Path(path)
    if path.is_file():
        shards = [path]
    elif path.is_dir():
        shards = _shards(path)
        if not shards:
            raise InputError(f"{path} holds no Parquet file; expected a folder of triplets.")
    else:
        raise InputError(f"There are no triplets at {path}; expected a folder or a Parquet file.")
    found: dict[tuple[Path, int], Triplet] = {}
    for shard in shards:
        for record in _read_shard(shard, FIELDS):
            record["image"] = resolve_path(record["image"], shard.parent)
            triplet = Triplet(**record)
            found.setdefault((triplet.image, triplet.seed), triplet)
    return list(found.values())


def check_same(
    rows: Iterable[Row], folder: str | Path, teacher: str, prompt: str | None = None
) -> None:
    """Refuse to add to a folder whose triplets are of another kind.

    Raises:
        InputError: they are of another teacher, answer another prompt, or have other scores for the
            same pictures or were written of other pictures at the same paths.
    """
    scores = {row.image.resolve(): row.score for row in rows}
    digests: dict[Path, str] = {}
    for triplet in read_triplets(folder):
        if triplet.teacher != teacher:
            raise InputError(
                f"{folder} holds triplets of the teacher {triplet.teacher!r}; give another folder."
            )
        if prompt is not None and triplet.prompt != prompt:
            raise InputError(
                f"{folder} holds answers to another prompt ({triplet.prompt[:60]!r} …); give "
                "another folder."
            )
        image = triplet.image.resolve()
        if image in scores and scores[image] != triplet.score:
            raise InputError(
                f"{folder} has the score {triplet.score} for {triplet.image}, the manifest "
                f"{scores[image]}; delete the folder or give another."
            )
        if image in scores and image not in digests and is_there(image):
            digests[image] = picture_sha256(image)
        if digests.get(image, triplet.image_sha256) != triplet.image_sha256:
            raise InputError(
                f"{folder} has texts of another picture than {triplet.image} is now; delete the "
                "folder or give another."
            )


def _shards(folder: Path) -> list[Path]:
    """Finished shards in the order written; unfinished ones begin with a dot and end in .tmp."""
    paths = (path for path in folder.glob("*.parquet") if not path.name.startswith("."))
    return sorted(paths, key=lambda path: (_index(path), path.name))


def _index(shard: Path) -> int:
    parts = shard.stem.split("-")
    return int(parts[1]) if len(parts) > 1 and parts[1].isdecimal() else -1


def _schema() -> Any:
    pa = require("pyarrow", "data")
    types = {
        "score": pa.float64(),
        "teacher_score": pa.float64(),
        "seed": pa.int64(),
        "parse_ok": pa.bool_(),
    }
    return pa.schema([(name, types.get(name, pa.string())) for name in FIELDS])


def _to_record(triplet: Triplet, folder: Path) -> dict[str, Any]:
    record = {name: getattr(triplet, name) for name in FIELDS}
    return record | {"image": stored_path(triplet.image, folder)}


def _write_shard(records: list[dict[str, Any]], path: Path) -> None:
    pa = require("pyarrow", "data")
    parquet = require("pyarrow.parquet", "data")
    with path.open("wb") as file:
        parquet.write_table(pa.Table.from_pylist(records, _schema()), file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())  # a rename must not become visible before its contents


def _read_shard(shard: Path, columns: Iterable[str]) -> list[dict[str, Any]]:
    wanted = list(columns)
    try:
        table = read_parquet(shard, wanted)
    except InputError as error:
        raise InputError(
            f"{error} Delete it and run the same command again: only its triplets are written anew."
        ) from error
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise InputError(
            f"{shard} is not a shard of triplets: it has no column {', '.join(missing)}. "
            "Move it elsewhere or delete it."
        )
    for name in wanted:
        kind, empty = table.schema.field(name).type, table[name].null_count
        if not _fits(name, kind) or (empty and name not in _MAY_BE_EMPTY):
            what = f"{empty} empty cells" if _fits(name, kind) else f"{kind} in it"
            raise InputError(
                f"{shard} is not a shard of triplets: its column {name} has {what}. Move it "
                "elsewhere or delete it."
            )
    records: list[dict[str, Any]] = table.to_pylist()
    return records


def _fits(name: str, kind: Any) -> bool:
    """Whether a column of this type holds what `Triplet` says."""
    types = require("pyarrow", "data").types
    if name in _MAY_BE_EMPTY:
        return bool(types.is_floating(kind) or types.is_null(kind))
    tests = {"seed": types.is_integer, "parse_ok": types.is_boolean}
    is_text = types.is_string(kind) or types.is_large_string(kind)
    return bool(tests[name](kind) if name in tests else is_text)
