"""Data sets of the Hugging Face `datasets` library, on disk or on the hub.

In: a folder that `save_to_disk` wrote, or `hf://datasets/OWNER/NAME`, with `@REVISION` and
`:CONFIGURATION` behind it where they are wanted. Out: an entry per row and split, with the key
`hf://datasets/OWNER/NAME/train#17`, the rows counted from 0.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from rali.errors import InputError, MissingExtraError, PictureError, shortened

from .entry import Entry
from .inline import from_cell
from .listed import bytes_of, chosen_column
from .paths import path_text
from .tries import retried

HUB = "hf://datasets/"


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote this folder."""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    )


def is_hub_name(address: str) -> bool:
    """Whether an address names a whole data set and not a file or folder in it."""
    return address.startswith(HUB) and address.removeprefix(HUB).strip("/").count("/") == 1


class DataSet:
    """The pictures of a data set: all its splits, one after the other.

    Args:
        place: the folder's absolute path, or the address on the hub.
        key: as it was given.
        column: the column with the pictures; by default the first that holds images.

    Raises:
        InputError: the data set cannot be loaded, or has no such column.
    """

    def __init__(self, place: str, key: str, column: str | None) -> None:
        self.place, self.key, self.count = place, key.rstrip("/"), 0
        self._splits: list[tuple[str, str, int]] = []
        for split, rows in _loaded(os.getpid(), place).items():
            images = [name for name, kind in rows.features.items() if _is_image(kind)]
            chosen = (
                images[0]
                if images and not column
                else chosen_column(self.key, rows.column_names, column)
            )
            self._splits.append((split, chosen, len(rows)))
            self.count += len(rows)

    def __iter__(self) -> Iterator[Entry]:
        return self._entries()

    def first(self) -> Iterator[Entry]:
        """The first picture of each split."""
        return self._entries(1)

    def _entries(self, most: int | None = None) -> Iterator[Entry]:
        for split, column, count in self._splits:
            name = f"{self.key}/{split}" if split else self.key
            for row in range(count)[:most]:
                yield Entry(path_text(f"{name}#{row}"), DataSetCell(self.place, split, column, row))


@dataclass(frozen=True, slots=True)
class DataSetCell:
    """A picture in a row of a data set."""

    place: str
    split: str
    column: str
    row: int

    def read(self) -> bytes:
        rows = _stored(os.getpid(), self.place, self.split, self.column)
        cell = rows[self.row][self.column]
        if cell is None:
            raise PictureError(f"Its row has nothing in column {self.column!r}.")
        return bytes_of(from_cell(cell) if isinstance(cell, dict) else cell, Path(self.place))


@lru_cache(maxsize=4)
def _loaded(process: int, place: str) -> dict[str, Any]:
    """Each split by its name; "" for a data set without splits. Rows are mapped, not read."""
    try:
        import datasets
    except ImportError:
        raise MissingExtraError(
            f"{place} needs datasets, which is not installed. Type: pip install datasets"
        ) from None
    try:
        found = _from_hub(place) if place.startswith(HUB) else datasets.load_from_disk(place)
    except InputError:
        raise
    except Exception as error:  # the hub's, pyarrow's and the library's own
        why = shortened(" ".join(str(error).split()), 300).rstrip(".")
        raise InputError(f"The data set {place} cannot be loaded: {why}.") from error
    return dict(found) if isinstance(found, dict) else {"": found}


def _from_hub(address: str) -> Any:
    """A data set, downloaded where the library's cache does not have it.

    Raises:
        InputError: it has several configurations, and none of them is named.
    """
    import datasets

    # Neither mark may be in a name. A slash would be a folder of the repository.
    rest, _, config = address.removeprefix(HUB).strip("/").partition(":")
    name, _, revision = rest.partition("@")
    named = {"revision": revision or None}
    try:
        return retried(lambda: datasets.load_dataset(name, name=config or None, **named))
    except ValueError as error:
        there = retried(lambda: datasets.get_dataset_config_names(name, **named))
        if len(there) < 2 or config in there:
            raise
        raise InputError(
            f"The data set {HUB}{rest} has the configurations {shortened(', '.join(there), 300)}. "
            f"Name one: {HUB}{rest}:{there[0]}"
        ) from error


@lru_cache(maxsize=16)
def _stored(process: int, place: str, split: str, column: str) -> Any:
    """A split whose pictures are not decoded by the library, with one column."""
    import datasets

    rows = _loaded(process, place)[split].select_columns([column])
    if _is_image(rows.features[column]):
        rows = rows.cast_column(column, datasets.Image(decode=False))
    return rows


def files_of(place: str, split: str) -> list[str]:
    """The files on this disk that hold a split's rows."""
    return [each["filename"] for each in _loaded(os.getpid(), place)[split].cache_files]


def _is_image(feature: Any) -> bool:
    return type(feature).__name__ == "Image"
