"""Manifests and pairs: the tables that everything downstream reads (CSV or Parquet).

In: a file with one row per picture (or per comparison). Pictures are files, or lie inside one that
may be the manifest itself: Parquet with bytes, an archive. Out: checked rows with absolute picture
paths, or one `InputError` that names the file, the row and the column of each fault. Writing checks
the same things, so a file written here can always be read back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rali.errors import InputError
from rali.pictures.inside import is_there
from rali.pictures.paths import as_text, find_path

from .tables import Records, number_in, read_records, stored_path, write_records
from .webdataset import is_archive, read_archive

SPLITS = ("train", "val", "test", "")
RESULTS = ("A", "B", "similar")
MAX_PROBLEMS = 10


@dataclass(frozen=True)
class Row:
    """One picture of a manifest; an empty string or None means that a value is not known.

    Attributes:
        image: the picture's absolute path (in the file: relative to the manifest); inside a file
            `shard.tar/a.jpg` or `train.parquet#17`, as `rali.pictures.inside` reads them.
        score: quality, 1 (worst) to 5 (best); None when unlabelled.
        raw_score: the score as the data set's release gives it, in its own range and direction.
        dataset: the data set's name; scores are compared only inside one data set.
        content: what must not straddle a split (reference picture, scene, prompt); where it is
            empty, the picture is a content of its own.
        split: train, val, test or empty.
        std: standard deviation of the ratings, on the 1–5 scale.
        reference: the undistorted picture's absolute path (in the file: like `image`).
        distortion: the degradation's name.
        severity: 0 (none) to 5.
    """

    image: Path
    score: float | None = None
    raw_score: float | None = None
    dataset: str = ""
    content: str = ""
    split: str = ""
    std: float | None = None
    reference: str = ""
    distortion: str = ""
    severity: int | None = None


@dataclass(frozen=True)
class PairRow:
    """One comparison; `result` says which picture is better: A, B or similar."""

    image_a: Path
    image_b: Path
    result: str
    reference: str = ""
    dataset: str = ""
    content: str = ""
    split: str = ""


COLUMNS = tuple(field.name for field in fields(Row))
PAIR_COLUMNS = ("image_a", "image_b", "reference", "result", "dataset", "content", "split")


class _Problems:
    """Collects the faults of a table, for one message with the first ten of them.

    A table that is read has rows with numbers; in an archive, and in a table that is to be written,
    pictures are named instead.
    """

    def __init__(
        self, path: Path, kind: str, names: Sequence[str | Path] = (), *, writing: bool = False
    ) -> None:
        self.path, self.kind, self.names, self.writing = path, kind, names, writing
        self.found = list[str]()

    def place(self, row: int) -> str:
        return f"{self.names[row - 2]}" if self.names else f"row {row}"

    def add(self, row: int, column: str, what: str) -> None:
        self.found.append(f"{self.place(row)}, column {column!r}: {what}")

    def stop_if_any(self) -> None:
        if not self.found:
            return
        shown = self.found[:MAX_PROBLEMS]
        if len(self.found) > len(shown):
            shown.append(f"and {len(self.found) - len(shown)} more")
        fault = f"is not a valid {self.kind}{'' if self.names else ' (the header is row 1)'}"
        if self.writing:
            fault = f"is not written, because it would be no valid {self.kind}"
        raise InputError(f"{self.path} {fault}:\n  " + "\n  ".join(shown))


def read_manifest(
    path: str | Path, *, check_files: bool = False, check_straddling: bool = True
) -> list[Row]:
    """Read and check a manifest (.csv or .parquet); columns of other names are ignored.

    A Parquet file may hold the pictures themselves in its column `image`: their bytes, or a data
    set's cells. So may an archive (.tar, .zip), as `rali.data.webdataset` reads it.

    Args:
        path: the manifest.
        check_files: also refuse pictures that are not on disk.
        check_straddling: refuse contents in two splits; off where the splits will be replaced.

    Raises:
        InputError: the file cannot be read, or at least one cell is not what it should be.
    """
    path = Path(path)
    records, names = (
        read_archive(path)
        if is_archive(path)
        else (read_records(path, "manifest", ["image"], COLUMNS, pictures="image"), [])
    )
    problems = _Problems(path, "manifest", names)
    rows, numbers = _parse_rows(records, problems)
    if check_straddling:
        _check_straddling(rows, numbers, problems)
    if check_files:
        _check_files(rows, numbers, ["image"], problems)
    problems.stop_if_any()
    return rows


def write_manifest(rows: Iterable[Row], path: str | Path) -> None:
    """Write a manifest (.csv or .parquet) in one step: readers see the old file or the new one.

    Raises:
        InputError: a row would not pass `read_manifest`; nothing is written.
    """
    path = Path(path)
    rows = list(rows)
    problems = _Problems(path, "manifest", [row.image for row in rows], writing=True)
    records = [_to_record(row, COLUMNS, path) for row in rows]
    parsed, numbers = _parse_rows(list(enumerate(records, 2)), problems)
    _check_straddling(parsed, numbers, problems)
    problems.stop_if_any()
    write_records(records, _types(COLUMNS), path, "manifest")


def read_pairs(path: str | Path, *, check_files: bool = False) -> list[PairRow]:
    """Read and check a table of pairs (.csv or .parquet), as `read_manifest` does."""
    path = Path(path)
    required = ["image_a", "image_b", "result"]
    problems = _Problems(path, "table of pairs")
    pairs, numbers = _parse_pairs(
        read_records(path, "table of pairs", required, PAIR_COLUMNS), problems
    )
    if check_files:
        _check_files(pairs, numbers, ["image_a", "image_b"], problems)
    problems.stop_if_any()
    return pairs


def write_pairs(pairs: Iterable[PairRow], path: str | Path) -> None:
    """Write a table of pairs (.csv or .parquet), as `write_manifest` does."""
    path = Path(path)
    pairs = list(pairs)
    problems = _Problems(path, "table of pairs", [pair.image_a for pair in pairs], writing=True)
    records = [_to_record(pair, PAIR_COLUMNS, path) for pair in pairs]
    _parse_pairs(list(enumerate(records, 2)), problems)
    problems.stop_if_any()
    write_records(records, _types(PAIR_COLUMNS), path, "table of pairs")


def select(rows: Iterable[Row], split: str | None) -> list[Row]:
    """The rows of one split (train, val, test, or "" for rows without one); None keeps all."""
    if split is not None and split not in SPLITS:
        raise InputError(f"There is no split {split!r}: choose train, val or test.")
    return [row for row in rows if split is None or row.split == split]


# ── cells ────────────────────────────────────────────────────────────────────────────────────────


def _text(record: Mapping[str, Any], column: str) -> str:
    value = record.get(column)
    return "" if value is None else str(value).strip()


def _parse_rows(records: Records, problems: _Problems) -> tuple[list[Row], list[int]]:
    folder = problems.path.parent
    limits = {"score": (1.0, 5.0), "raw_score": (-math.inf, math.inf), "std": (0.0, math.inf)}
    wants = {
        "score": "a number from 1 to 5",
        "raw_score": "a finite number",
        "std": "a number not below 0",
    }
    rows: list[Row] = []
    for number, record in records:
        numbers: dict[str, float | None] = {}
        for column, (low, high) in limits.items():
            text = _text(record, column)
            numbers[column] = number_in(text, low, high)
            if text and numbers[column] is None:
                problems.add(
                    number, column, f"{text!r} is not {wants[column]}; leave it empty if not known."
                )
        severity = number_in(_text(record, "severity"), 0, 5)
        if _text(record, "severity") and (severity is None or severity != int(severity)):
            what = f"{_text(record, 'severity')!r} is not a whole number from 0 to 5."
            problems.add(number, "severity", what)
            severity = None
        rows.append(
            Row(
                image=_path_cell(record, "image", number, folder, problems),
                score=numbers["score"],
                raw_score=numbers["raw_score"],
                dataset=_text(record, "dataset"),
                content=_text(record, "content"),
                std=numbers["std"],
                distortion=_text(record, "distortion"),
                split=_choice(record, "split", number, SPLITS, problems),
                reference=_reference(record, folder),
                severity=None if severity is None else int(severity),
            )
        )
    row_numbers = [number for number, _ in records]
    first: dict[Path, int] = {}
    for row, number in zip(rows, row_numbers, strict=True):
        if row.image.name and first.setdefault(row.image, number) != number:
            where = problems.place(first[row.image])
            what = "is there twice" if problems.writing else f"is already in {where}"
            problems.add(number, "image", f"{row.image} {what}.")
    return rows, row_numbers


def _parse_pairs(records: Records, problems: _Problems) -> tuple[list[PairRow], list[int]]:
    folder = problems.path.parent
    pairs = [
        PairRow(
            image_a=_path_cell(record, "image_a", number, folder, problems),
            image_b=_path_cell(record, "image_b", number, folder, problems),
            result=_choice(record, "result", number, RESULTS, problems),
            reference=_reference(record, folder),
            dataset=_text(record, "dataset"),
            content=_text(record, "content"),
            split=_choice(record, "split", number, SPLITS, problems),
        )
        for number, record in records
    ]
    row_numbers = [number for number, _ in records]
    _check_straddling(pairs, row_numbers, problems)
    return pairs, row_numbers


def _path_cell(
    record: Mapping[str, Any], column: str, number: int, folder: Path, problems: _Problems
) -> Path:
    if not _text(record, column):
        problems.add(number, column, "is empty; expected the picture's path.")
        return Path()
    return find_path(str(record[column]), folder)  # a name may begin or end with a space


def _reference(record: Mapping[str, Any], folder: Path) -> str:
    named = _text(record, "reference")
    return str(find_path(str(record["reference"]), folder)) if named else ""


def _choice(
    record: Mapping[str, Any],
    column: str,
    number: int,
    choices: Sequence[str],
    problems: _Problems,
) -> str:
    text = _text(record, column)
    if text not in choices:
        wanted = ", ".join(choice or "empty" for choice in choices)
        problems.add(number, column, f"{text or 'empty'!r} is not one of {wanted}.")
    return text


def _check_straddling(
    rows: Sequence[Row | PairRow], numbers: Sequence[int], problems: _Problems
) -> None:
    first: dict[tuple[str, str], tuple[str, int]] = {}
    for row, number in zip(rows, numbers, strict=True):
        if not (row.content and row.split in SPLITS[:3]):
            continue
        split, where = first.setdefault((row.dataset, row.content), (row.split, number))
        if split != row.split:
            problems.add(
                number,
                "split",
                f"content {row.content!r} is in {row.split!r} here and in {split!r} in "
                f"{problems.place(where)}; a content belongs to one split.",
            )


def _check_files(
    rows: Sequence[Any], numbers: Sequence[int], columns: Sequence[str], problems: _Problems
) -> None:
    for row, number in zip(rows, numbers, strict=True):
        for column in columns:
            path: Path = getattr(row, column)
            if path.name and not is_there(path):
                problems.add(number, column, f"there is no file {path}.")


def _types(columns: Sequence[str]) -> dict[str, type]:
    kinds: dict[str, type] = {"score": float, "raw_score": float, "std": float, "severity": int}
    return {name: kinds.get(name, str) for name in columns}


def _to_record(row: Row | PairRow, columns: Sequence[str], path: Path) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for column in columns:
        value = getattr(row, column)
        if column in ("image", "image_a", "image_b", "reference"):
            empty = str(value) in ("", ".")
            value = "" if empty else stored_path(value, path.parent)
        elif isinstance(value, str):
            value = as_text(value)
        record[column] = value
    return record
