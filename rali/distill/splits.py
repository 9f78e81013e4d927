"""Which rows of a manifest a distillation trains on, and which choose when to stop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from rali.data.manifest import Row
from rali.data.splits import straddling
from rali.errors import InputError


def training_rows(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The rows of splits `train` (all rows, where there are no splits) and `val`.

    Raises:
        InputError: no labelled training row, or a picture or content of `train` that is in another
            split too.
    """
    train = [row for row in rows if row.split == "train"]
    if not any(row.split for row in rows):
        train = list(rows)
    if not any(row.score is not None for row in train):
        raise InputError(
            f"No picture to train on: of {len(rows)} rows none has split 'train' and a score. "
            "Split the manifest with `rali data split MANIFEST --fractions 6:2:2 -o OUT`."
        )
    for row, other in straddling(rows):
        if other.split == "train":
            raise InputError(
                f"{row.image} is in split {row.split!r}, but it or its content {row.content!r} is "
                "in 'train' too. Split the manifests together with `rali data split`."
            )
    return train, [row for row in rows if row.split == "val"]


def scores_of(rows: Iterable[Row]) -> np.ndarray:
    """Scores [n], float64, of labelled rows."""
    return np.array([row.score for row in rows], dtype=np.float64)
