"""Splits: their names, and how rows are assigned so that no content straddles two of them.

In: manifest rows and fractions. Out: the same rows with `split` filled in, per data set. The order
of contents is a hash of seed, data set and content, so it is the same on every machine and for
every order of the rows.
"""

from __future__ import annotations

import hashlib
import math
import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

from rali.errors import InputError

from .manifest import Row

_NAMES = {
    "": "",
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def split_name(text: object, where: str, names: Mapping[str, str] | None = None) -> str:
    """What a release calls a split → train, val, test or empty; `where` begins the error.

    Args:
        names: what this release's own names mean, as in {"0": "train", "2": "test"}.

    Raises:
        InputError: none of the known names.
    """
    key = "" if text is None else str(text).strip().lower()
    known = _NAMES | {name.strip().lower(): split for name, split in (names or {}).items()}
    if key not in known:
        raise InputError(
            f"{where}: {str(text)!r} is not a split; expected train(ing), val(idation), test or "
            f"empty. Say what it means (--split-name {key}=train), or leave the column out: "
            "rali data import csv without --split."
        )
    return known[key]


def straddling(rows: Iterable[Row]) -> Iterator[tuple[Row, Row]]:
    """Each row of `val` or `test` whose picture or content is in an earlier split, and a row there.

    `read_manifest` refuses contents of one manifest in two splits; these rows may be of several.
    """
    order = {"train": 0, "val": 1, "test": 2}
    first: dict[object, Row] = {}
    split = [row for row in rows if row.split in order]
    for row in sorted(split, key=lambda row: order[row.split]):
        keys: list[object] = [row.image, *([(row.dataset, row.content)] if row.content else [])]
        found = [first.setdefault(key, row) for key in keys]
        other = min(found, key=lambda row: order[row.split])
        if other.split != row.split:
            yield row, other


def split_names(pairs: Iterable[str], where: str) -> dict[str, str]:
    """What the names of a release mean, from texts such as `0=train`; `where` begins the error.

    Raises:
        InputError: not such a text, not a split, or a name that is given twice.
    """
    names: dict[str, str] = {}
    for pair in pairs:
        name, sign, split = pair.rpartition("=")
        if not sign or not name.strip():
            raise InputError(f"{where}: {pair!r} is not a name and its split, as in 0=train.")
        if names.setdefault(name.strip(), meant := split_name(split, where)) != meant:
            raise InputError(f"{where}: {name!r} is given two splits.")
    return names


def assign_splits(
    rows: Iterable[Row], fractions: Sequence[float] = (0.6, 0.2, 0.2), seed: int = 0
) -> list[Row]:
    """Give every row a split, replacing the one it has.

    Rows of one data set with the same `content` stay together. A row without content is a content
    of its own, identified by its path below the folder that the data set's pictures share.

    Args:
        rows: manifest rows, in any order.
        fractions: train:val:test, or train:test; any non-negative scale (6, 2, 2).
        seed: a different seed gives a different assignment.

    Returns:
        The rows in the order given. In each data set the number of pictures per split is as near
        to the fractions as moves and swaps of whole contents can bring it, and no split with a
        positive fraction is empty as long as there are enough contents.

    Raises:
        InputError: not two or three fractions, or a negative fraction, or all of them zero.
    """
    rows = list(rows)
    names, shares = _shares(fractions)
    by_dataset: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        by_dataset[row.dataset].append(index)
    result = list(rows)
    for dataset, indices in by_dataset.items():
        groups: dict[str, list[int]] = defaultdict(list)
        contents = _contents([rows[index] for index in indices])
        for index, content in zip(indices, contents, strict=True):
            groups[content].append(index)
        ordered = sorted(groups, key=lambda content: _hash(seed, dataset, content))
        chosen = partition([len(groups[content]) for content in ordered], shares)
        for content, part in zip(ordered, chosen, strict=True):
            for index in groups[content]:
                result[index] = replace(rows[index], split=names[part])
    return result


def partition(sizes: Sequence[int], shares: Sequence[float]) -> list[int]:
    """Put groups into parts whose total sizes come near `shares` (which sum to 1).

    The groups are laid end to end in the order given and cut at the shares; a group belongs to the
    part in which its middle lies, so that in a random order every part is a fair sample of large
    and small groups. Then groups are moved or swapped one at a time, as long as that brings the
    totals nearer in squared error.

    Returns:
        The part of each group.
    """
    targets = [share * sum(sizes) for share in shares]
    open_parts = [part for part, target in enumerate(targets) if target > 0]
    cuts = list(accumulate(targets))
    totals = [0] * len(shares)
    chosen: list[int] = []
    end = 0
    for size in sizes:
        part = min(bisect_right(cuts, end + size / 2), open_parts[-1])
        end += size
        totals[part] += size
        chosen.append(part)

    members: list[dict[int, list[int]]] = [defaultdict(list) for _ in shares]  # part, size → groups
    for group, part in enumerate(chosen):
        members[part][sizes[group]].append(group)

    def move(size: int, source: int, target: int) -> None:
        if size:
            group = members[source][size].pop()
            members[target][size].append(group)
            chosen[group] = target
            totals[source] -= size
            totals[target] += size

    def count(part: int) -> int:
        return sum(map(len, members[part].values()))

    for part in open_parts:  # nobody wants an empty test set
        donors = [p for p in open_parts if count(p) > 1]
        if not count(part) and donors:
            donor = max(donors, key=lambda p: (totals[p] - targets[p], -p))
            move(min(size for size, groups in members[donor].items() if groups), donor, part)

    while True:
        best, step = -1e-9, None
        for source in open_parts:
            for target in open_parts:
                over = (totals[source] - targets[source]) - (totals[target] - targets[target])
                if source == target or over <= 0:
                    continue
                theirs = sorted(size for size, groups in members[target].items() if groups)
                for mine in sorted(size for size, groups in members[source].items() if groups):
                    for back in [0, *theirs]:
                        net = mine - back
                        change = 2.0 * net * (net - over)
                        if change < best and (back or count(source) > 1):
                            best, step = change, (mine, back, source, target)
        if step is None:
            return chosen
        mine, back, source, target = step
        move(mine, source, target)
        move(back, target, source)


def _shares(fractions: Sequence[float]) -> tuple[tuple[str, ...], list[float]]:
    names = {2: ("train", "test"), 3: ("train", "val", "test")}.get(len(fractions))
    values = [float(fraction) for fraction in fractions]
    valid = all(math.isfinite(value) and value >= 0 for value in values) and sum(values) > 0
    if names is None or not valid:
        given = ":".join(f"{value:g}" for value in values) or "nothing"
        raise InputError(
            "Fractions are train:val:test or train:test, not negative and not all zero (6:2:2 or "
            f"8:2); got {given}."
        )
    return names, [value / sum(values) for value in values]


def _contents(rows: Sequence[Row]) -> list[str]:
    """The content of each row of one data set; without one, the picture's path stands for it."""
    folder = os.path.commonpath([row.image.parent for row in rows])
    return [
        "content:" + row.content
        if row.content
        else "image:" + Path(os.path.relpath(row.image, folder)).as_posix()
        for row in rows
    ]


def _hash(seed: int, dataset: str, content: str) -> tuple[bytes, str]:
    key = "\0".join((str(seed), dataset, content))
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest(), content
