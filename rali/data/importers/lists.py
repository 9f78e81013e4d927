"""Liu13 and Min19, of which only VisualQuality-R1's lists are known: `reference picture score`.

In: a folder with the list and the pictures beside it, or the list. Liu13 (Liu et al., 2013) holds
1,200 deblurred photographs, Min19 (Min et al., 2019) 600 dehazed ones. Higher is better.
"""

from __future__ import annotations

from pathlib import Path

from ..manifest import Row
from ._cells import number, spaced
from ._release import Label, Release, home_of, rows_of, score_file


def read_liu13(root: str | Path, *, labels_only: bool = False) -> list[Row]:
    """Read Liu13; as `_read`."""
    return _read(LIU13, root, labels_only)


def read_min19(root: str | Path, *, labels_only: bool = False) -> list[Row]:
    """Read Min19; as `_read`."""
    return _read(MIN19, root, labels_only)


def _read(release: Release, root: str | Path, labels_only: bool) -> list[Row]:
    """Read a list. The extremes come from the list itself, which has to be complete.

    Raises:
        InputError: the list or a picture is missing, the list is not complete, or a cell is not a
            number.
    """
    names = [f"{release.title}.txt", f"{release.title}_test_set.txt"]
    source = score_file(root, names, release)
    labels = [
        Label(where, cells[1], number(cells[2], where), content=cells[0], reference=cells[0])
        for where, cells in spaced(source, 3)
    ]
    return rows_of(release, labels, source, home_of(root), labels_only=labels_only)


LIU13 = Release(
    name="liu13",
    title="Liu13",
    layout="Liu13.txt or Liu13_test_set.txt (VisualQuality-R1's list) and the pictures beside it",
    pictures=1_200,
    worst=None,
    best=None,
    scale="Bradley–Terry scores, higher is better",
    content="blurred picture",
    split="none",
    licence="see its page",
    home="gfx.cs.princeton.edu/pubs/Liu_2013_ANM",
    read=read_liu13,
)
MIN19 = Release(
    name="min19",
    title="Min19",
    layout="Min19.txt or Min19_test_set.txt (VisualQuality-R1's list) and the pictures beside it",
    pictures=600,
    worst=None,
    best=None,
    scale="MOS, higher is better",
    content="hazy picture",
    split="none",
    licence="see its page",
    home="sites.google.com/site/minxiongkuo/home",
    read=read_min19,
)
