"""Folders of pictures, in natural order ("a2" before "a10"), however many files they hold.

In: a folder. Out: the paths of its pictures, one by one. Names are sorted in runs that lie in a
temporary file once a folder holds more than one run of them, so memory does not grow with folders.
"""

from __future__ import annotations

import heapq
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import IO

from rali.errors import InputError

# fmt: off
PICTURE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".webp", ".tif", ".tiff",
    ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".heic", ".heif",
    ".hif", ".tga", ".qoi", ".ico", ".jxl",
))
# fmt: on
_RUN = 5_000  # names that are sorted in memory
_BLOCK = 1 << 11  # bytes of a run that are read at once; of all runs they are in memory together


def is_picture_name(name: str) -> bool:
    """Whether a file of this name counts where a folder or an archive is looked through."""
    name = name.rpartition("/")[2]
    return name[:1] != "." and os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES  # noqa: PTH122


def is_visible(name: str) -> bool:
    """Whether no folder in a path is hidden; `.` and `..` are not."""
    return not any(part[:1] == "." and part not in (".", "..") for part in name.split("/"))


def find_pictures(paths: Iterable[str | Path], recursive: bool = False) -> list[Path]:
    """The pictures that `paths` name, each once: folders expanded, their files in natural order.

    In a folder, files with a suffix of `PICTURE_SUFFIXES` count, hidden ones do not. A path that
    is not a folder is kept, whatever its name and even if nothing is there: opening it tells why.

    Raises:
        InputError: a folder cannot be listed.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not os.path.isdir(path):  # noqa: PTH112 - False, where Path.is_dir raises
            found[path] = None
            continue
        for folder, names in walk(path, recursive):
            names = filter(is_picture_name, names)
            try:
                found.update((folder / name, None) for name in in_order(names))
            except OSError as error:
                raise InputError(unlisted(folder, error)) from error
    return list(found)


def unlisted(folder: Path, error: OSError) -> str:
    """The sentence for a folder that cannot be listed."""
    return f"The folder {folder} cannot be listed: {error.strerror or error}."


def walk(root: str | Path, recursive: bool = True) -> Iterator[tuple[Path, Iterator[str]]]:
    """`root` and the folders in it, in natural order, each with the names of its files.

    The names come in the system's order; reading them raises OSError where the folder cannot be
    listed. A folder that is a link is followed, unless the folder it leads to is one of the
    others: each is there once, under its own path where it has one, and loops end. Hidden folders
    are left out.
    """
    found: list[Path] = []
    starts, seen = [str(root)], set[str]()
    for start in starts:  # grows by the links, which wait until all that is below is known
        below = [start]
        while below:
            folder = below.pop()
            here = os.path.realpath(folder)
            if here in seen:
                continue
            seen.add(here)
            found.append(Path(folder))
            for place in _folders_in(folder) if recursive else []:
                (starts if os.path.islink(place) else below).append(place)  # noqa: PTH114
    for path in sorted(found, key=lambda each: [natural(part) for part in each.parts]):
        yield path, _names(path)


def natural(name: str) -> tuple[str, str]:
    """Sort key with "a2" before "a10"; as short as the name, because many are held at once."""
    # A number sorts before any letter, and by how many digits it has: \0, their count, the digits.
    return re.sub("[0-9]+", lambda found: _number(found[0].lstrip("0")), name.lower()), name


def in_order(names: Iterable[str]) -> Iterator[str]:
    """`names` sorted by `natural`, in the memory that 5,000 of them need."""
    names = iter(names)
    run = sorted(islice(names, _RUN), key=natural)
    if len(run) < _RUN:
        yield from run
        return
    with tempfile.TemporaryFile() as spill:
        places = [0]
        while run:
            spill.write(b"".join(os.fsencode(name) + b"\0" for name in run))
            places.append(spill.tell())
            run = sorted(islice(names, _RUN), key=natural)
        runs = [_run(spill, *bounds) for bounds in pairwise(places)]
        yield from heapq.merge(*runs, key=natural)


def _run(spill: IO[bytes], start: int, stop: int) -> Iterator[str]:
    rest = b""
    while start < stop:
        spill.seek(start)
        block = spill.read(min(_BLOCK, stop - start))
        start += len(block)
        *whole, rest = (rest + block).split(b"\0")
        yield from map(os.fsdecode, whole)


def _number(digits: str) -> str:
    return f"\0{chr(len(digits))}{digits}"


def _folders_in(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [each.path for each in entries if each.name[0] != "." and _is_folder(each)]
    except OSError:  # reading its names tells why
        return []


def _names(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for each in entries:
            if not _is_folder(each):
                yield each.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False
