"""What all importers share: rescaling, cells with a good error, pictures found without case."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rali.errors import InputError

from ..tables import resolve_path

_SPLITS = {
    "": "",
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def rescale(raw: float, low: float, high: float) -> float:
    """Map a score from [low, high] to [1, 5], linearly: 1 + 4 · (raw − low) / (high − low).

    Args:
        raw: a score in the data set's own range.
        low: the native score of the worst quality; `low > high` flips (DMOS: 100, 0).
        high: the native score of the best quality.

    Raises:
        InputError: low equals high, or raw is not between them.
    """
    if not (math.isfinite(low) and math.isfinite(high)) or low == high:
        raise InputError(
            f"A score range needs two different numbers, worst and best; got {low:g} and {high:g}."
        )
    share = (raw - low) / (high - low)
    if not -1e-9 <= share <= 1 + 1e-9:  # not `<`, so that NaN is refused too
        raise InputError(
            f"score {raw!r} is outside the range {low:g} to {high:g}; "
            "give the range of the full release, worst to best."
        )
    return 1 + 4 * min(1.0, max(0.0, share))


def rescale_std(std: float | None, low: float, high: float) -> float | None:
    """A standard deviation in the units of [low, high] → the 1–5 scale."""
    return None if std is None else 4 * std / abs(high - low)


def number(
    text: object, where: str, *, minimum: float = -math.inf, required: bool = False
) -> float | None:
    """The finite number in a cell, None when the cell is empty; `where` begins the error."""
    if text is None or not str(text).strip():
        if required:
            raise InputError(f"{where}: empty; expected a number.")
        return None
    try:
        value = float(str(text))
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < minimum:
        least = "" if minimum == -math.inf else f" not below {minimum:g}"
        raise InputError(f"{where}: {str(text)!r} is not a number{least}.")
    return value


def score(raw: float | None, low: float, high: float, where: str) -> float | None:
    """`rescale`, with the cell's place in the error; None stays None."""
    try:
        return None if raw is None else rescale(raw, low, high)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def split_name(text: object, where: str) -> str:
    """A release's name of a split → train, val, test or empty."""
    key = "" if text is None else str(text).strip().lower()
    if key not in _SPLITS:
        raise InputError(
            f"{where}: {str(text)!r} is no split; expected train(ing), val(idation), test or empty."
        )
    return _SPLITS[key]


def need_columns(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    """Refuse a CSV that lacks a column, naming those it has."""
    for column in columns:
        if column not in header:
            raise InputError(
                f"{path} has no column {column!r} in row 1; it has: {', '.join(header) or 'none'}."
            )


def json_rows(path: Path, keys: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """(file and row, item) of a JSON list of objects that have `keys`.

    Raises:
        InputError: not there, not such a list, or an item lacks a key.
    """
    try:
        items = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise InputError(f"{path} is not a JSON file: {error}.") from error
    if not isinstance(items, list):
        raise InputError(f"{path} holds a JSON {type(items).__name__}; expected a list.")
    found = []
    for position, item in enumerate(items, 1):
        where = f"{path}, row {position}"
        if not isinstance(item, dict) or not all(key in item for key in keys):
            raise InputError(f"{where}: expected an object with {', '.join(keys)}.")
        found.append((where, item))
    return found


def subfolder(root: Path, name: str) -> Path:
    """The folder `name` in `root`, matched without case; as written when there is none."""
    if (root / name).is_dir() or not root.is_dir():
        return root / name
    alike = (path for path in sorted(root.iterdir()) if path.name.lower() == name.lower())
    return next((path for path in alike if path.is_dir()), root / name)


class PictureFinder:
    """Finds a release's pictures in a folder, without case, and keeps count of those missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.there = folder.is_dir()
        self.asked = 0
        self.missing: list[str] = []
        self._by_lower: dict[str, Path] | None = None

    def find(self, name: str | None, where: str) -> Path:
        """The picture's path; where it would be when it is missing. `where` begins an error."""
        name = (name or "").strip()
        if not name:
            raise InputError(f"{where}: empty; expected the picture's file name.")
        self.asked += 1
        path = self.look(name)
        if path is None:
            self.missing.append(name)
        return path or resolve_path(name, self.folder)

    def look(self, name: str) -> Path | None:
        """The picture's path, or None when it is missing (not counted)."""
        if not self.there:
            return None
        exact = resolve_path(name, self.folder)
        if exact.is_file():
            return exact
        if self._by_lower is None:  # the folder is listed only when a name is not found as written
            self._by_lower = {}
            for place, folders, files in os.walk(self.folder):
                folders.sort()
                for file in sorted(files):
                    found = resolve_path(file, Path(place))
                    key = Path(os.path.relpath(found, resolve_path("", self.folder))).as_posix()
                    self._by_lower.setdefault(key.lower(), found)
        return self._by_lower.get(Path(name).as_posix().lower())

    def stop_if_missing(self, source: Path, labels_only: bool) -> None:
        """Raise one sentence about the missing pictures, unless only labels are wanted."""
        if not self.missing or labels_only:
            return
        first = ", ".join(self.missing[:3]) + (", …" if len(self.missing) > 3 else "")
        raise InputError(
            f"{len(self.missing)} of the {self.asked} pictures that {source} lists are not in "
            f"{self.folder}: {first}. Put them there, or import the labels alone (--labels-only)."
        )
