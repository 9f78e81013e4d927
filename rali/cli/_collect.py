"""Copies or moves pictures of chosen rows into a folder; nothing is overwritten, nothing lost.

Each picture's name in the folder is noted in `FOLDER/.rali.jsonl` before anything happens to it, so
that the same command after a kill goes on where it was, and each move can be followed back. A
picture in an archive or a table or at an address is written out; nothing is removed from there.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from rali.errors import InputError, RaliError
from rali.files import from_json, image_sha256
from rali.pictures.entry import Entry, Unreadable
from rali.pictures.folders import is_picture_name
from rali.pictures.inside import picture_bytes, picture_inside
from rali.pictures.listed import SUFFIXES
from rali.pictures.paths import path_in
from rali.pictures.remote import Fetched, is_address, stamp
from rali.pictures.sources import Entries
from rali.runs.folder import alone_in

from ._shown import picture_of, pictures_inside

RECORD = ".rali.jsonl"
_LONGEST = 180  # bytes of a name; systems allow 255
_KINDS = (  # how pictures begin whose key has no suffix, from which byte
    *((0, b"\xff\xd8\xff", ".jpg"), (0, b"\x89PNG", ".png"), (0, b"GIF8", ".gif")),
    *((8, b"WEBP", ".webp"), (8, b"avif", ".avif"), (8, b"hei", ".heic"), (8, b"mif1", ".heic")),
    *((0, b"BM", ".bmp"), (0, b"II*\0", ".tif"), (0, b"MM\0*", ".tif")),
    *((0, b"\xff\x0a", ".jxl"), (4, b"JXL ", ".jxl"), (4, b"jP  ", ".jp2")),
)


def check_movable(entries: Entries) -> None:
    """Refuse, before the work, sources that hold pictures which are no files.

    Raises:
        InputError: there is such a source among those that were typed.
    """
    if source := entries.container:
        raise InputError(
            f"--move-to moves files, and the pictures of {source} are inside it or at an address, "
            "where rali removes nothing. Give --copy-to, which writes them out."
        )


def collect(
    rows: Callable[[], Iterable[Mapping[str, Any]]],
    entries: Iterable[Entry],
    folder: Path,
    *,
    move: bool,
) -> tuple[str, bool]:
    """Copy or move the rows' pictures into a folder.

    Pictures of one name are kept apart as a.jpg and a-2.jpg.

    Args:
        rows: gives the rows again at each call.
        entries: the sources', for pictures that are no files of their own.

    Returns:
        A sentence that says how many, and whether that is all of them.
    """
    inside, counts = pictures_inside(rows(), entries), Counter[str]()
    with alone_in(folder), (folder / RECORD).open("a+b") as record:
        names = _Names(folder, record)
        for row in rows():
            key = row["image"]
            picture = picture_of(key, inside)
            if isinstance(picture, Path) and picture.is_file():
                done = _take_file(names, key, picture.absolute(), move)
            elif move:
                done = _moved_before(names, key, picture)
            else:
                done = _write_out(names, key, picture)
            counts[done] += 1
    parts = [f"{counts['done']:,} pictures {'moved' if move else 'copied'} to {folder}"]
    if stay := counts["inside"]:
        parts.append(
            f"{stay:,} stay in their archives, tables or at their addresses (--copy-to copies them)"
        )
    if lost := counts["unread"]:
        parts.append(f"{lost:,} cannot be read")
    return ", ".join(parts) + ".", not (stay or lost)


class _Names:
    """The names in the folder, by where each picture is from; `alone_in` keeps others out."""

    def __init__(self, folder: Path, record: Any) -> None:
        self.folder, self._record = folder, record
        self._noted: dict[str, dict[str, Any]] = {}
        self._taken = set[str]()
        record.seek(0)
        end = 0
        for line in record:
            if not line.endswith(b"\n"):  # a kill cut it
                break
            end += len(line)
            self._keep(from_json(line))
        record.truncate(end)

    def _keep(self, noted: dict[str, Any]) -> None:
        self._noted[noted["from"]] = noted
        self._taken.add(noted["to"])

    def of(self, source: str) -> tuple[Path | None, dict[str, Any]]:
        """Where a picture was put, or is to be, and what was noted of it."""
        noted = self._noted.get(source, {})
        return (self.folder / noted["to"] if noted else None), noted

    def note(self, key: str, source: str, target: Path, *, move: bool, **more: Any) -> None:
        line = {"image": key, "from": source, "to": target.name, "moved": move, **more}
        self._keep(line)
        self._record.write(json.dumps(line).encode() + b"\n")
        self._record.flush()

    def free(self, name: str) -> Path:
        """A path in the folder that nothing has or will have: `name`, or with -2, -3, …"""
        stem, suffix = os.path.splitext(name)  # noqa: PTH122
        count = 1
        while name in self._taken or os.path.lexists(self.folder / name):
            count += 1
            name = f"{stem}-{count}{suffix}"
        return self.folder / name


def _take_file(names: _Names, key: str, source: Path, move: bool) -> str:
    if source.parent == names.folder.absolute():
        return "there"
    target, _ = names.of(os.fspath(source))
    if target is None or not (_is_free(target) or filecmp.cmp(source, target, shallow=False)):
        target = names.free(source.name)
        names.note(key, os.fspath(source), target, move=move)
    if _is_free(target):
        if move and not source.is_symlink():
            target.touch()  # nothing else gets this name
            try:
                source.replace(target)
                return "done"
            except OSError:  # another disk
                pass
        _place(target, lambda temporary: shutil.copy2(source, temporary))
    if move:
        source.unlink()
    return "done"


def _moved_before(names: _Names, key: str, picture: Any) -> str:
    target, _ = names.of(_origin(key))
    if target is not None and target.is_file():
        return "done"
    picture = picture_inside(picture) if isinstance(picture, Path) else picture
    return "unread" if picture is None or isinstance(picture, Unreadable) else "inside"


def _write_out(names: _Names, key: str, picture: Any) -> str:
    """Write the bytes of a picture that is no file.

    Those that are there already are not read again, unless the file that holds them has changed.
    """
    target, noted = names.of(_origin(key))
    before, holder = noted.get("sha256"), _holder(picture)
    there = before and target is not None and target.is_file() and image_sha256(target) == before
    if there and holder and holder == noted.get("holder"):
        return "done"
    try:
        data = picture_bytes(picture) if isinstance(picture, Path) else picture.read()
    except (RaliError, OSError, ValueError, KeyError):  # a row of a table raises nearly anything
        return "unread"
    sha256 = hashlib.sha256(data).hexdigest()
    same = there and sha256 == before
    if target is None or not (same or _is_free(target)):
        target = names.free(_name(key, data))
    names.note(key, _origin(key), target, move=False, sha256=sha256, holder=holder)
    if not same:
        _place(target, lambda temporary: temporary.write_bytes(data))
    return "done"


def _holder(picture: Any) -> list[int]:
    """Size and time of change of the file that holds a picture, which no address has.

    Of a data set, which is several files, nothing.
    """
    picture = picture_inside(picture) if isinstance(picture, Path) else picture
    place = picture.name if isinstance(picture, Fetched) else getattr(picture, "place", "")
    known = is_address(place) or os.path.isfile(place)  # noqa: PTH113
    return list(stamp(place)) if known else []


def _origin(key: str) -> str:
    """Where a picture is from: an address, or an absolute path that may lead into a file."""
    text = path_in(key)
    return text if is_address(text) else os.path.abspath(text)  # noqa: PTH100


def _name(key: str, data: bytes) -> str:
    """A file's name for a picture: `a.jpg` of `s.zip/a.jpg`, `t-17.png` of `t.parquet#17`."""
    text = path_in(key).replace("\\", "/")
    table, mark, row = text.rpartition("#")
    if mark and row.isdecimal():
        name = PurePosixPath(table).name
        stem, suffix = PurePosixPath(name).stem if name.lower().endswith(SUFFIXES) else name, ""
        stem = f"{stem}-{row}"
    else:
        text = re.split("[?#]", text)[0] if is_address(text) else text
        name = re.sub(r"(\.\w+)@\d+$", r"\1", text.rpartition("/")[2])  # a later version
        stem, suffix = os.path.splitext(name) if is_picture_name(name) else (name, "")  # noqa: PTH122
    stem = stem.encode("utf-8", "replace")[:_LONGEST].decode("utf-8", "ignore")
    stem = re.sub(r'[<>:"|?*\0-\x1f]', "_", stem).lstrip(".") or "picture"
    return stem + (suffix or _suffix(data))


def _suffix(data: bytes) -> str:
    return next((name for at, magic, name in _KINDS if data.startswith(magic, at)), "")


def _is_free(target: Path) -> bool:
    """Whether nothing lies there, or what a killed command reserved."""
    return not os.path.lexists(target) or target.stat().st_size == 0


def _place(target: Path, write: Callable[[Path], object]) -> None:
    """Write a file that is there whole or not at all."""
    target.touch()  # nothing else gets this name
    temporary = target.with_name(f".{target.name[:_LONGEST]}.tmp")
    try:
        write(temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        target.unlink()
        raise
