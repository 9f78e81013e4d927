"""PIPAL (Gu et al., 2020): 200 pictures × 116 degradations and restorations; its training part.

In: the release's folder with `Train_Label/A0001.txt` (`A0001_00_00.bmp,1446.3`), `Distortion_1/` to
`Distortion_4/` (or `Train_Dist/`) and `Train_Ref/`. Elo scores, higher is better.
"""

from __future__ import annotations

from pathlib import Path

from rali.errors import InputError

from ..manifest import Row
from ._cells import number, spaced
from ._pictures import PictureFinder, subfolder
from ._release import Label, Release, rows_of


def read(root: str | Path, *, labels_only: bool = False) -> list[Row]:
    """Read the release's training part, the one whose scores are public.

    Raises:
        InputError: a file or picture is missing, a cell is not what it should be, or a list is not
            complete (the extremes of the Elo scores are only in the whole release).
    """
    root = Path(root)
    folder = subfolder(root, "Train_Label")
    lists = sorted(folder.glob("*.txt")) if folder.is_dir() else []
    if not lists:
        raise InputError(f"{folder} holds no lists like A0001.txt; give the folder of PIPAL.")
    finder = PictureFinder(root)
    folders = [
        path.name for path in sorted(root.glob("*")) if path.is_dir() and _is_pictures(path.name)
    ]
    labels = []
    for path in lists:
        for where, (name, elo, *_) in spaced(path, 2):
            # The list does not say which of the folders holds a picture.
            places = (f"{folder}/{name}" for folder in folders)
            labels.append(
                Label(
                    where,
                    next(filter(finder.look, places), name),
                    number(elo, where, required=True),
                    content=path.stem.lower(),
                    reference=f"{path.stem}.bmp",
                )
            )
    return rows_of(
        RELEASE, labels, folder, root,
        references=subfolder(root, "Train_Ref"), labels_only=labels_only,
    )  # fmt: skip


def _is_pictures(name: str) -> bool:
    return name.lower().startswith(("distortion_", "train_dist"))


RELEASE = Release(
    name="pipal",
    title="PIPAL",
    layout="Train_Label/, Distortion_1/ to Distortion_4/ and Train_Ref/",
    pictures=23_200,
    worst=None,
    best=None,
    scale="Elo about 900–1850, higher is better",
    content="reference picture",
    split="none",
    licence="see its page",
    home="www.jasongt.com/projectpages/pipal.html",
    read=read,
)
