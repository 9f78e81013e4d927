"""AGIQA-3K (Li et al., 2023): 2,982 pictures that six generators made of 300 prompts.

In: the release's folder with `data.csv` and the pictures beside it. `mos_quality` is 0–5, higher is
better. A prompt with its adjectives and style is a content.
"""

from __future__ import annotations

from pathlib import Path

from ..manifest import Row
from ..tables import need_columns, read_csv
from ._cells import number
from ._release import Label, Release, home_of, rows_of, score_file


def read(root: str | Path, *, labels_only: bool = False) -> list[Row]:
    """Read the release.

    Raises:
        InputError: a file, column or picture is missing, or a cell is not what it should be.
    """
    source = score_file(root, ["data.csv"], RELEASE)
    header, records = read_csv(source)
    need_columns(source, header, ["name", "prompt", "mos_quality", "std_quality"])
    labels = []
    for line, record in records:
        where = f"{source}, row {line}"
        labels.append(
            Label(
                where,
                record.get("name") or "",
                number(record.get("mos_quality"), f"{where}, column 'mos_quality'", required=True),
                number(record.get("std_quality"), f"{where}, column 'std_quality'", minimum=0),
                content=record.get("prompt") or "",
            )
        )
    home = home_of(root)
    pictures = home / "images" if (home / "images").is_dir() else home
    return rows_of(RELEASE, labels, source, pictures, labels_only=labels_only)


RELEASE = Release(
    name="agiqa3k",
    title="AGIQA-3K",
    layout="data.csv and the pictures beside it",
    pictures=2_982,
    worst=0.0,
    best=4.488740784,
    scale="MOS 0–5, higher is better",
    content="prompt",
    split="none",
    licence="see its page",
    home="github.com/lcysyzxdxc/AGIQA-3k-Database",
    read=read,
)
