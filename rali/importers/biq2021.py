"""BIQ2021 (Ahmed and Asif, 2022): photographs with mean opinion scores from a laboratory.

In: a folder with `index.csv` (image, mos, split, subset, scene) and `images/`. MOS 0–1, higher is
better. The scene is the content: the exposure, blur and noise series of `ss01` show one scene.
"""

from __future__ import annotations

from pathlib import Path

from ..manifest import Row
from ..tables import read_csv
from ._common import PictureFinder, need_columns, number, score, split_name

NAME = "biq2021"
LOW, HIGH = 0.0, 1.0


def read(root: str | Path, *, by_subset: bool = False, labels_only: bool = False) -> list[Row]:
    """Read the release.

    Args:
        root: the folder that holds `index.csv` and `images/`.
        by_subset: make each subset a data set of its own: biq2021-ss01, biq2021-ss03.
        labels_only: do not ask for the pictures.

    Raises:
        InputError: a file, column or picture is missing, or a cell is not what it should be.
    """
    index = Path(root) / "index.csv"
    header, records = read_csv(index)
    need_columns(index, header, ["image", "mos", "split", "subset", "scene"])
    pictures = PictureFinder(index.parent / "images")
    rows: list[Row] = []
    for line, record in records:
        where = f"{index}, row {line}, column"
        raw = number(record.get("mos"), f"{where} 'mos'")
        subset = record.get("subset", "")
        rows.append(
            Row(
                image=pictures.find(record["image"], f"{where} 'image'"),
                score=score(raw, LOW, HIGH, f"{where} 'mos'"),
                raw_score=raw,
                dataset=f"{NAME}-{subset}" if by_subset and subset else NAME,
                content=record.get("scene", ""),
                split=split_name(record.get("split"), f"{where} 'split'"),
            )
        )
    pictures.stop_if_missing(index, labels_only)
    return rows
