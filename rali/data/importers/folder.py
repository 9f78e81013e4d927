"""A folder of pictures without scores, to be scored, described or degraded."""

from __future__ import annotations

from pathlib import Path

from rali.errors import InputError
from rali.pictures.paths import absolute

from ..manifest import Row


def read(root: str | Path, *, recursive: bool = True, dataset: str | None = None) -> list[Row]:
    """One unlabelled row per picture, in natural order of their names.

    Args:
        root: the folder.
        recursive: also take the pictures in folders inside.
        dataset: the data set's name; the folder's name by default.

    Raises:
        InputError: no such folder, or no picture in it.
    """
    from rali.pictures.read import find_pictures

    folder = absolute(root, Path.cwd())
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}.")
    pictures = find_pictures([folder], recursive=recursive)
    if not pictures:
        raise InputError(f"{folder} holds no pictures.")
    return [
        Row(image=path, dataset=folder.name if dataset is None else dataset) for path in pictures
    ]
