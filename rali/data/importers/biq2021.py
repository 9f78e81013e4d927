"""BIQ2021 (Ahmed and Asif, 2022): photographs with mean opinion scores from a laboratory.

In: the release's folder with `Train (Images and MOS).csv`, `Test (Images and MOS).csv` and
`Images/`, or one with `index.csv` (image, mos, split, subset, scene) and `images/`. MOS 0–1, higher
is better.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rali.errors import InputError

from ..manifest import Row
from ..splits import split_name
from ..tables import need_columns, read_csv
from ._cells import number
from ._pictures import subfolder
from ._release import Label, Release, rows_of

FILES = {"train": "Train (Images and MOS).csv", "test": "Test (Images and MOS).csv"}


def read(root: str | Path, *, by_subset: bool = False, labels_only: bool = False) -> list[Row]:
    """Read the release.

    `index.csv` has the scene, which is the content, and the split. The release itself names no
    scenes and splits at random, so its exposure, blur and noise series (`ss01`) straddle its train
    and test: there every picture is a content of its own, and test results on `ss01` are
    optimistic.

    Args:
        root: the folder that holds the CSV files and the pictures.
        by_subset: make each subset a data set of its own: biq2021-ss01, -ss02, -ss03.
        labels_only: do not check that the pictures are there.

    Raises:
        InputError: a file, column or picture is missing, or a cell is not what it should be.
    """
    root = Path(root)
    if (root / "index.csv").is_file():
        source = root / "index.csv"
        labels, subsets = _index(source)
    else:
        source = root
        missing = [name for name in FILES.values() if not (root / name).is_file()]
        if missing:
            raise InputError(
                f"{root} holds neither index.csv nor {missing[0]!r}; give BIQ2021's folder."
            )
        labels = [label for split, name in FILES.items() for label in _list(root / name, split)]
        subsets = [label.picture.split(" ")[0] for label in labels]  # "ss01 (12).jpg"
    pictures = subfolder(root, "images")
    rows = rows_of(RELEASE, labels, source, pictures, labels_only=labels_only)
    if not by_subset:
        return rows
    return [
        replace(row, dataset=f"{RELEASE.name}-{subset}") if subset else row
        for row, subset in zip(rows, subsets, strict=True)
    ]


def _index(path: Path) -> tuple[list[Label], list[str]]:
    header, records = read_csv(path)
    need_columns(path, header, ["image", "mos", "split", "subset", "scene"])
    labels = []
    for line, record in records:
        where = f"{path}, row {line}"
        labels.append(
            Label(
                where,
                record.get("image") or "",
                number(record.get("mos"), f"{where}, column 'mos'", required=True),
                content=record.get("scene") or "",
                split=split_name(record.get("split"), f"{where}, column 'split'"),
            )
        )
    return labels, [record.get("subset") or "" for _, record in records]


def _list(path: Path, split: str) -> list[Label]:
    header, records = read_csv(path)
    need_columns(path, header, ["Image Name", "MOS"])
    return [
        Label(
            f"{path}, row {line}",
            record.get("Image Name") or "",
            number(record.get("MOS"), f"{path}, row {line}, column 'MOS'", required=True),
            split=split,
        )
        for line, record in records
    ]


RELEASE = Release(
    name="biq2021",
    title="BIQ2021",
    layout="Train (Images and MOS).csv, Test (Images and MOS).csv and Images/; "
    "or index.csv and images/",
    pictures=12_000,
    worst=0.0,
    best=1.0,
    scale="MOS 0–1, higher is better",
    content="scene in index.csv, else picture",
    split="official: 10,000 train, 2,000 test; index.csv: by scene",
    licence="freely available for use and benchmarking",
    home="github.com/nisarahmedrana/BIQ2021",
    read=read,
)
