"""BIQ2021 (Ahmed and Asif, 2022): photographs with mean opinion scores from a laboratory.

In: the release's folder, `Train (Images and MOS).csv`, `Test (Images and MOS).csv` and `Images/`,
or one with `index.csv` (image, mos, split, subset, scene) and `images/`. MOS 0–1, higher is better.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..manifest import Row
from ..tables import read_csv
from ._common import PictureFinder, need_columns, number, score, split_name, subfolder

NAME = "biq2021"
LOW, HIGH = 0.0, 1.0
RELEASE = {"train": "Train (Images and MOS).csv", "test": "Test (Images and MOS).csv"}


def read(root: str | Path, *, by_subset: bool = False, labels_only: bool = False) -> list[Row]:
    """Read the release.

    With `index.csv` the scene is the content and the split is the file's. The release itself names
    no scenes and splits at random, so its exposure, blur and noise series (`ss01`) straddle its
    train and test: there every picture is a content of its own, and test results on `ss01` are
    optimistic.

    Args:
        root: the folder that holds the CSV files and the pictures.
        by_subset: make each subset a data set of its own: biq2021-ss01, -ss02, -ss03.
        labels_only: do not ask for the pictures.

    Raises:
        InputError: a file, column or picture is missing, or a cell is not what it should be.
    """
    root = Path(root)
    pictures = PictureFinder(subfolder(root, "images"))
    if (root / "index.csv").is_file():
        source = root / "index.csv"
        rows = _read_index(source, pictures, by_subset)
    else:
        source = root
        missing = [name for name in RELEASE.values() if not (root / name).is_file()]
        if missing:
            raise InputError(
                f"{root} holds neither index.csv nor {missing[0]!r}; give BIQ2021's folder."
            )
        rows = [
            row
            for split, name in RELEASE.items()
            for row in _read_release(root / name, split, pictures, by_subset)
        ]
    pictures.stop_if_missing(source, labels_only)
    return rows


def _read_index(path: Path, pictures: PictureFinder, by_subset: bool) -> list[Row]:
    header, records = read_csv(path)
    need_columns(path, header, ["image", "mos", "split", "subset", "scene"])
    rows: list[Row] = []
    for line, record in records:
        where = f"{path}, row {line}, column"
        raw = number(record.get("mos"), f"{where} 'mos'", required=True)
        rows.append(
            Row(
                image=pictures.find(record.get("image"), f"{where} 'image'"),
                score=score(raw, LOW, HIGH, f"{where} 'mos'"),
                raw_score=raw,
                dataset=_dataset(record.get("subset") or "", by_subset),
                content=record.get("scene") or "",
                split=split_name(record.get("split"), f"{where} 'split'"),
            )
        )
    return rows


def _read_release(path: Path, split: str, pictures: PictureFinder, by_subset: bool) -> list[Row]:
    header, records = read_csv(path)
    need_columns(path, header, ["Image Name", "MOS"])
    rows: list[Row] = []
    for line, record in records:
        where = f"{path}, row {line}, column"
        name = record.get("Image Name") or ""
        raw = number(record.get("MOS"), f"{where} 'MOS'", required=True)
        rows.append(
            Row(
                image=pictures.find(name, f"{where} 'Image Name'"),
                score=score(raw, LOW, HIGH, f"{where} 'MOS'"),
                raw_score=raw,
                dataset=_dataset(name.split(" ")[0], by_subset),  # "ss01 (12).jpg"
                split=split,
            )
        )
    return rows


def _dataset(subset: str, by_subset: bool) -> str:
    return f"{NAME}-{subset}" if by_subset and subset else NAME
