"""KADIS-700k (Lin, Hosu and Saupe, 2020), or a folder made like it: degraded pictures, no scores.

In: a folder with `dist_imgs/<reference>_<type>_<level>.<png|bmp|jpg>`, types 01–25 and levels 01–05
as in KADID-10k, and `ref_imgs/`.
"""

from __future__ import annotations

from pathlib import Path

from rali.errors import InputError

from ..manifest import Row
from ._pictures import subfolder
from ._release import PICTURES, Label, Release, name_parts, rows_of
from .kadid10k import SIGNED, TYPES


def read(root: str | Path) -> list[Row]:
    """Read a folder; every picture in `dist_imgs` is a row.

    Raises:
        InputError: no such folder, or a name of another form.
    """
    folder = subfolder(Path(root), "dist_imgs")
    found = sorted(p for p in folder.glob("*") if p.suffix.lower() in PICTURES)
    if not found:
        raise InputError(f"{folder} holds no pictures; expected ones like I01_02_03.png.")
    originals = subfolder(Path(root), "ref_imgs")
    there = {p.stem.lower(): p.name for p in originals.glob("*")} if originals.is_dir() else {}
    labels = []
    for path in found:
        reference, distortion, severity = name_parts(path.name, TYPES, str(folder))
        labels.append(
            Label(
                str(path), path.name, content=reference.lower(),
                reference=there.get(reference.lower(), ""), distortion=distortion,
                severity=None if distortion in SIGNED else severity,
            )
        )  # fmt: skip
    return rows_of(RELEASE, labels, folder, folder, references=originals)


RELEASE = Release(
    name="kadis700k",
    title="KADIS-700k",
    layout="dist_imgs/ and ref_imgs/, without scores",
    pictures=700_000,
    worst=None,
    best=None,
    scale="no scores; levels 1–5",
    content="reference picture",
    split="none",
    licence="see its page",
    home="database.mmsp-kn.de/kadid-10k-database.html",
    read=read,
)
