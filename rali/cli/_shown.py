"""The pictures behind the rows that are shown, for what is done with them after the scoring."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rali.pictures.entry import Entry
from rali.pictures.paths import path_in


def file_of(key: str) -> Path:
    """The file that a row's key names, if it names one."""
    return Path(path_in(key))


def pictures_inside(rows: Iterable[Mapping[str, Any]], entries: Iterable[Entry]) -> dict[str, Any]:
    """What opens the picture of each row that is no file of its own, by the row's key.

    The sources are gone through where there are such rows, as far as the last of them.
    """
    wanted = {row["image"] for row in rows if not file_of(row["image"]).is_file()}
    found = dict[str, Any]()
    if wanted:
        for entry in entries:
            if entry.key in wanted:
                found[entry.key] = entry.picture
                if len(found) == len(wanted):
                    break
    return found
