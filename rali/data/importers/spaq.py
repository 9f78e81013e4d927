"""SPAQ (Fang et al., 2020): 11,125 photographs taken with smartphones.

In: the release's folder with `TestImage/` and `Annotations/MOS and Image attribute scores.xlsx`.
MOS 0–100, higher is better.
"""

from __future__ import annotations

from pathlib import Path

from rali.errors import InputError

from ..manifest import Row
from ._cells import number, sheet
from ._pictures import subfolder
from ._release import Label, Release, home_of, rows_of, score_file

SCORES = "MOS and Image attribute scores.xlsx"


def read(root: str | Path, *, labels_only: bool = False) -> list[Row]:
    """Read the release.

    Raises:
        InputError: a file, column or picture is missing, or a cell is not what it should be.
    """
    source = score_file(root, [f"Annotations/{SCORES}", SCORES], RELEASE)
    header, *cells = sheet(source)
    if tuple(header[:2]) != ("Image name", "MOS"):
        raise InputError(f"{source}, row 1: {header[:2]}; expected 'Image name' and 'MOS'.")
    labels = [
        Label(f"{source}, row {line}", str(name), number(mos, f"{source}, row {line}, MOS"))
        for line, (name, mos, *_) in enumerate(cells, 2)
        if name
    ]
    home = home_of(root)
    home = home.parent if home.name.lower() == "annotations" else home
    pictures = subfolder(home, "TestImage")
    return rows_of(RELEASE, labels, source, pictures, labels_only=labels_only)


RELEASE = Release(
    name="spaq",
    title="SPAQ",
    layout="TestImage/ and Annotations/MOS and Image attribute scores.xlsx",
    pictures=11_125,
    worst=2.0,
    best=96.0,
    scale="MOS 0–100, higher is better",
    content="picture",
    split="none",
    licence="see its page",
    home="github.com/h4nwei/SPAQ",
    read=read,
)
