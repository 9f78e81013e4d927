"""BID (Ciancio et al., 2011): 586 photographs blurred by camera shake, motion and bad focus.

In: the release's folder with `DatabaseGrades.xls`, `DatabaseImage0001.JPG` and so on. MOS 0–5,
higher is better.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from rali.errors import InputError

from ..manifest import Row
from ._cells import number, sheet
from ._release import Label, Release, home_of, rows_of, score_file

HEADER = ("Image Number", "Average Subjective Grade", "Number of Grades")


def read(root: str | Path, *, labels_only: bool = False) -> list[Row]:
    """Read the release; `std` is the unbiased standard deviation of the grades.

    Raises:
        InputError: a file, column or picture is missing, or a cell is not what it should be.
    """
    source = score_file(root, ["DatabaseGrades.xls"], RELEASE)
    header, *cells = sheet(source)
    if tuple(header[:3]) != HEADER:
        raise InputError(f"{source}, row 1: {header[:3]}; expected {', '.join(HEADER)}.")
    labels = []
    for line, (place, mos, _, *grades) in enumerate(cells, 2):
        where = f"{source}, row {line}"
        numbers = [number(grade, where, required=True) or 0.0 for grade in grades if grade != ""]
        labels.append(
            Label(
                where,
                f"DatabaseImage{int(number(place, where, required=True) or 0):04d}.JPG",
                number(mos, f"{where}, {HEADER[1]}", required=True),
                statistics.stdev(numbers) if len(numbers) > 1 else None,
            )
        )
    home = home_of(root)
    pictures = home / "ImageDatabase" if (home / "ImageDatabase").is_dir() else home
    return rows_of(RELEASE, labels, source, pictures, labels_only=labels_only)


RELEASE = Release(
    name="bid",
    title="BID",
    layout="DatabaseGrades.xls and the pictures beside it (DatabaseImage0001.JPG, …)",
    pictures=586,
    worst=0.1638057263157895,
    best=4.919752378181818,
    scale="MOS 0–5, higher is better",
    content="picture",
    split="none",
    licence="see its page",
    home="www02.smt.ufrj.br/~eduardo/ImageDatabase.htm",
    read=read,
)
