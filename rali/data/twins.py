"""Near-identical pictures in different splits: a test that was seen in training is no test.

In: manifest rows. Out: pairs whose small grey versions correlate, as they are or mirrored. This
finds copies, other sizes and encodings, and shots of one series from the same place; not another
view of the same thing. `content` keeps versions of one photograph together; this needs no content.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rali.errors import PictureError
from rali.pictures.read import open_picture
from rali.runs.progress import Progress, silent

from .manifest import Row

EDGE = 24  # pixels of a small version
CORRELATED = 0.95  # of BIQ2021's 62 training pictures beyond it, 60 are listed as twins
FLATTEST = 1.0  # grey levels of deviation; what is flatter than that is like anything flat
CHUNK = 2048  # pictures compared at a time


@dataclass(frozen=True)
class Twin:
    """A picture of `train` (or of `val`) and one that is held out from it."""

    seen: Row
    held_out: Row
    correlation: float


def find_twins(
    rows: Sequence[Row], *, least: float = CORRELATED, progress: Progress = silent
) -> list[Twin]:
    """The pairs in different splits that are near-identical, the most alike first.

    Per picture that is held out the pair with the picture most like it. Pictures that cannot be
    read are left out.

    Args:
        rows: with splits; rows without one are left out. `val` is held out from `train`, `test`
            from both.
        least: correlation of the small versions, 0–1, from which on a pair is given.
        progress: called with the stage "compare" and the pictures read.
    """
    rows = [row for row in rows if row.split]
    small = np.zeros((len(rows), EDGE * EDGE), np.float32)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for number, vector in enumerate(pool.map(_small, (row.image for row in rows))):
            small[number] = vector
            progress("compare", number + 1, len(rows))
    place = {split: [n for n, row in enumerate(rows) if row.split == split] for split in _ORDER}
    found = []
    for split in ("val", "test"):
        seen = [n for earlier in _ORDER[: _ORDER.index(split)] for n in place[earlier]]
        for held_out, nearest, correlation in _nearest(small, place[split], seen):
            if correlation >= least and rows[nearest].image != rows[held_out].image:
                found.append(Twin(rows[nearest], rows[held_out], correlation))
    return sorted(found, key=lambda twin: -twin.correlation)


_ORDER = ("train", "val", "test")


def _small(path: Path) -> np.ndarray:
    """The small version as a vector of length 1 around 0; zeros where it is flat or unreadable."""
    try:
        picture = Image.fromarray(open_picture(path)).convert("L")
    except PictureError:
        return np.zeros(EDGE * EDGE, np.float32)
    values = np.asarray(picture.resize((EDGE, EDGE), Image.Resampling.BOX), np.float32).ravel()
    values -= values.mean()
    if values.std() < FLATTEST:
        return np.zeros_like(values)
    return values / np.linalg.norm(values)


def _nearest(
    small: np.ndarray, held_out: Sequence[int], seen: Sequence[int]
) -> Iterator[tuple[int, int, float]]:
    """For each of `held_out` the most correlated of `seen`, and the correlation."""
    if not seen:
        return
    grid = small.reshape(-1, EDGE, EDGE)
    for start in range(0, len(held_out), CHUNK):
        some = list(held_out[start : start + CHUNK])
        best, nearest = np.full(len(some), -1.0), np.zeros(len(some), int)
        for begin in range(0, len(seen), CHUNK):
            others = np.asarray(seen[begin : begin + CHUNK])
            mirrored = grid[some][:, :, ::-1].reshape(len(some), -1)
            alike = np.maximum(small[some] @ small[others].T, mirrored @ small[others].T)
            better = alike.max(1) > best
            best = np.where(better, alike.max(1), best)
            nearest = np.where(better, others[alike.argmax(1)], nearest)
        yield from zip(some, nearest.tolist(), best.tolist(), strict=True)
