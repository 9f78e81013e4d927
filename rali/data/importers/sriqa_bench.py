"""SRIQA-Bench (Chen et al., 2025): 100 small pictures, each enlarged by ten methods.

In: the release's folder with `images/<method>/x1_<method>x4.png` and `MOS/x1.txt`, which has a line
`x1_<method>x4.png,<score>` per method and one for the original, `x1_Original.png`. Scores 0–100,
higher is better; they compare pictures of one content only.
"""

from __future__ import annotations

from pathlib import Path

from rali.errors import InputError

from ..manifest import Row
from ._cells import number, spaced
from ._pictures import subfolder
from ._release import Label, Release, rows_of

REGRESSION = ("SwinIR", "RealESRNet")  # the other methods generate
ORIGINAL = "Original"


def read(root: str | Path, *, labels_only: bool = False) -> list[Row]:
    """Read the release; `distortion` is the method, or `Original`.

    Raises:
        InputError: a file or picture is missing, or a cell is not what it should be.
    """
    folder = subfolder(Path(root), "MOS")
    lists = sorted(folder.glob("*.txt")) if folder.is_dir() else []
    if not lists:
        raise InputError(f"{folder} holds no lists like x1.txt; give the folder of SRIQA-Bench.")
    labels = []
    for path in lists:
        for where, (name, mos, *_) in spaced(path, 2):
            _, _, method = Path(name).stem.partition("_")
            if not method:
                raise InputError(f"{where}: {name!r} is not named like x1_SwinIRx4.png.")
            method = method.removesuffix("x4")
            labels.append(
                Label(
                    where,
                    f"{method}/{name}",
                    number(mos, where, required=True),
                    content=path.stem,
                    reference=f"{ORIGINAL}/{path.stem}_{ORIGINAL}.png",
                    distortion=method,
                )
            )
    pictures = subfolder(Path(root), "images")
    return rows_of(RELEASE, labels, folder, pictures, labels_only=labels_only)


RELEASE = Release(
    name="sriqa-bench",
    title="SRIQA-Bench",
    layout="MOS/ and images/",
    pictures=1_100,
    worst=0.0,
    best=100.0,
    scale="0–100 within a content, higher is better",
    content="enlarged picture",
    split="none",
    licence="non-commercial academic research only",
    home="github.com/ChrisDud0257/AFINE",
    read=read,
)
