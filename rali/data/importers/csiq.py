"""CSIQ (Larson and Chandler, 2010): 30 photographs × 6 degradations × 4 or 5 levels.

In: the release's folder with `csiq.DMOS.xlsx` (or `csiq.beta.xlsx`) with its sheet `all_by_image`,
`dst_imgs/<type>/<reference>.<TYPE>.<level>.png` and `src_imgs/`. DMOS 0–1, lower is better.
"""

from __future__ import annotations

from pathlib import Path

from rali.errors import InputError

from ..manifest import Row
from ._cells import number, sheet
from ._pictures import subfolder
from ._release import Label, Release, home_of, rows_of, score_file

# The type in the sheet → its folder and its part of the file name.
TYPES = {
    "noise": "awgn",
    "blur": "blur",
    "contrast": "contrast",
    "fnoise": "fnoise",
    "jpeg": "jpeg",
    "jpeg 2000": "jpeg2000",
}
COLUMNS = ("image", "dst_type", "dst_lev", "dmos_std", "dmos")


def read(root: str | Path, *, labels_only: bool = False) -> list[Row]:
    """Read the release. File names are matched without case: the release mixes both.

    Raises:
        InputError: a file, column or picture is missing, or a cell is not what it should be.
    """
    source = score_file(root, ["csiq.DMOS.xlsx", "csiq.beta.xlsx"], RELEASE)
    cells = sheet(source, "all_by_image")
    start = next((i for i, row in enumerate(cells) if set(COLUMNS) <= set(row)), None)
    if start is None:
        raise InputError(f"{source}, sheet all_by_image: no row names {', '.join(COLUMNS)}.")
    at = [cells[start].index(column) for column in COLUMNS]
    labels = []
    for line, row in enumerate(cells[start + 1 :], start + 2):
        image, kind, level, std, dmos = (row[i] for i in at)
        if image is None:
            continue
        where, name = f"{source}, row {line}", str(image)  # one is called 1600, a number
        if kind not in TYPES:
            raise InputError(f"{where}: dst_type is {kind!r}; expected {', '.join(TYPES)}.")
        labels.append(
            Label(
                where,
                f"{TYPES[kind]}/{name}.{TYPES[kind]}.{level}.png",
                number(dmos, f"{where}, dmos", required=True),
                number(std, f"{where}, dmos_std", minimum=0),
                content=name,
                reference=f"{name}.png",
                distortion=kind,
                severity=int(level),
            )
        )
    home = home_of(root)
    return rows_of(
        RELEASE, labels, source, subfolder(home, "dst_imgs"),
        references=subfolder(home, "src_imgs"), labels_only=labels_only,
    )  # fmt: skip


RELEASE = Release(
    name="csiq",
    title="CSIQ",
    layout="csiq.DMOS.xlsx, dst_imgs/ and src_imgs/",
    pictures=866,
    worst=1.0,
    best=0.0,
    scale="DMOS 0–1, lower is better",
    content="reference picture",
    split="none",
    licence="see its page",
    home="s2.smu.edu/~eclarson/csiq.html",
    read=read,
)
