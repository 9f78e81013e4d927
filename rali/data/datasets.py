"""The names of data sets: what rows are of that name none.

In: several manifests. Out: a name for each, which no other manifest's rows have.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def dataset_names(manifests: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """{path: what its rows are of that name no data set}, such as `koniq` for `koniq.csv`.

    Only scores of one data set are compared, so no two manifests share a name, nor does one have a
    data set's that another manifest names: `a/train.csv` and `b/train.csv` then keep their folders.

    Args:
        manifests: {path: its rows}.
    """
    places = {path: Path(os.path.abspath(path)) for path in manifests}  # noqa: PTH100

    def name(place: Path, folders: int) -> str:
        return "/".join(place.parts[-folders:]) if folders else place.stem

    found = {}
    for path, own in places.items():
        others = {other: place for other, place in places.items() if place != own}
        named = {row.dataset for other in others for row in manifests[other]}
        found[path] = next(
            name(own, folders)
            for folders in range(len(own.parts) + 1)
            if name(own, folders) not in named | {name(each, folders) for each in others.values()}
        )
    return found
