"""The pictures behind the rows that are shown, for what is done with them after the scoring."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rali.pictures.entry import Entry, Unreadable
from rali.pictures.inside import is_ambiguous
from rali.pictures.paths import path_in


def file_of(key: str) -> Path:
    """The file that a row's key names, if it names one."""
    return Path(path_in(key))


def picture_of(key: str, inside: Mapping[str, Any]) -> Any:
    """The picture of a row, which `pictures_inside` found or the key names.

    A row that an earlier command made of a table says nothing of its column.
    """
    if key in inside or not is_ambiguous(path := file_of(key)):
        return inside.get(key, file_of(key))
    return (
        path
        if path.is_file()
        else Unreadable(
            "Its table holds pictures in several columns: give it as a source, with its --column."
        )
    )


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
