"""Which row of a table means which picture, where somebody else wrote the table.

In: paths of pictures, and the rows' paths as they stand and as they were found. Out: one row for
each picture that has exactly one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath

from rali.pictures.paths import find_path, path_in


def rows_of(pictures: Sequence[Path], rows: Mapping[Path, str]) -> dict[Path, Path]:
    """The row (by its path) of each picture that has exactly one.

    A row means the picture at its path, relative to the table or else to the working folder. A row
    whose path leads to no file means the one picture whose path ends with the row's (`a/0.png` for
    `/photos/a/0.png`); a row without a folder is matched by its name alone.

    Args:
        pictures: absolute paths.
        rows: of each row the absolute path, relative to the table, and the path as it stands there.
    """
    found = {place: place for place in pictures if place in rows}
    open_rows: dict[tuple[str, ...], list[Path]] = {}
    wanted = set(pictures)
    for row, image in rows.items():
        if row in found or row.is_file():
            continue
        here = find_path(image, Path())
        if here in wanted and here not in found:
            found[here] = row
        elif not here.is_file():
            open_rows.setdefault(_steps(path_in(image)), []).append(row)
    claims: dict[Path, list[Path]] = {}
    for place in dict.fromkeys(pictures):
        steps = _steps(str(place))
        tails = [steps[start:] for start in range(len(steps))]
        named = [row for tail in tails for row in open_rows.get(tail, ())]
        if place not in found and len(named) == 1:
            claims.setdefault(named[0], []).append(place)
    return found | {own[0]: row for row, own in claims.items() if len(own) == 1}


def last_step(path: str) -> str:
    """The name at the end of a path, which a picture and a row that means it share."""
    steps = _steps(path)
    return steps[-1] if steps else ""


def _steps(path: str) -> tuple[str, ...]:
    """The folders and the name of a path as any system writes it, without its root and dots."""
    pure = PureWindowsPath(unicodedata.normalize("NFC", path))
    return tuple(part for part in pure.parts if part not in (pure.anchor, "..", "."))
