"""Liu13 and Min19, of which only VisualQuality-R1's lists are known: `reference picture score`.

In: a folder with the list (or the list) and the pictures beside it. Liu13 (Liu et al., 2013) holds
1,200 deblurred photographs, Min19 (Min et al., 2019) 600 dehazed ones. Higher is better.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..manifest import Row
from ._common import number
from ._release import Label, Release, home_of, rows_of, score_file, spaced

LIU13 = Release(
    name="liu13",
    title="Liu13",
    pictures=1_200,
    worst=None,
    best=None,
    scale="Bradley–Terry scores, higher is better",
    content="blurred picture",
    split="none",
    licence="see its page",
    home="gfx.cs.princeton.edu/pubs/Liu_2013_ANM",
)
MIN19 = Release(
    name="min19",
    title="Min19",
    pictures=600,
    worst=None,
    best=None,
    scale="MOS, higher is better",
    content="hazy picture",
    split="none",
    licence="see its page",
    home="sites.google.com/site/minxiongkuo/home",
)


def _read(release: Release, root: str | Path, *, labels_only: bool = False) -> list[Row]:
    """Read a list. The extremes come from the list itself, which has to be complete.

    Raises:
        InputError: the list or a picture is missing, not complete, or a cell is no number.
    """
    names = [f"{release.title}.txt", f"{release.title}_test_set.txt"]
    source = score_file(root, names, release)
    labels = [
        Label(where, cells[1], number(cells[2], where), content=cells[0], reference=cells[0])
        for where, cells in spaced(source, 3)
    ]
    return rows_of(release, labels, source, home_of(root), labels_only=labels_only)


read_liu13 = partial(_read, LIU13)
read_min19 = partial(_read, MIN19)
