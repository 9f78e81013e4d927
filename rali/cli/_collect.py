"""Copies or moves pictures of chosen rows into a folder; nothing is overwritten, nothing lost.

Each picture's name in the folder is noted in `FOLDER/.rali.jsonl` before anything happens to it, so
that the same command after a kill goes on where it was, and each move can be followed back.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rali.files import from_json
from rali.pictures.paths import path_in
from rali.runs.folder import alone_in

RECORD = ".rali.jsonl"


def collect(rows: Iterable[Mapping[str, Any]], folder: Path, *, move: bool) -> str:
    """Copy or move the rows' pictures into a folder; returns a sentence that says how many.

    Pictures of one name are kept apart as a.jpg and a-2.jpg. A picture inside an archive or at an
    address is no file of its own, and stays where it is.
    """
    count = left = 0
    with alone_in(folder), (folder / RECORD).open("a+b") as record:
        names = _noted(record)
        for row in rows:
            source = Path(path_in(row["image"])).absolute()
            key = os.fspath(source)
            if source.parent == folder.absolute():
                continue
            if not source.is_file():
                moved = key in names and (folder / names[key]).is_file()
                count += moved
                left += not moved
                continue
            target = folder / names[key] if key in names else None
            if target is None or not _usable(source, target):
                target = _free(folder, source, set(names.values()))
                names[key] = target.name
                line = {"image": row["image"], "from": key, "to": target.name, "moved": move}
                record.write(json.dumps(line).encode() + b"\n")
                record.flush()
            _place(source, target, move)
            count += 1
    sentence = f"{count:,} pictures {'moved' if move else 'copied'} to {folder}"
    return sentence + (f", {left:,} that are no files stay where they are" if left else "") + "."


def _noted(record: Any) -> dict[str, str]:
    """The name in the folder by path; a line that a kill cut is dropped."""
    record.seek(0)
    names, end = {}, 0
    for line in record:
        if not line.endswith(b"\n"):
            break
        end += len(line)
        noted = from_json(line)
        names[noted["from"]] = noted["to"]
    record.truncate(end)
    return names


def _usable(source: Path, target: Path) -> bool:
    """Whether a noted name is still this picture's: free, reserved, or holding it already."""
    if not os.path.lexists(target) or target.stat().st_size == 0:
        return True
    return filecmp.cmp(source, target, shallow=False)


def _free(folder: Path, source: Path, taken: set[str]) -> Path:
    name, count = source.name, 1
    while name in taken or os.path.lexists(folder / name):
        count += 1
        name = f"{source.stem}-{count}{source.suffix}"
    return folder / name


def _place(source: Path, target: Path, move: bool) -> None:
    there = os.path.lexists(target) and target.stat().st_size > 0
    if not there:
        target.touch()  # nothing else gets this name
        if move and not source.is_symlink():
            try:
                source.replace(target)
                return
            except OSError:  # another disk
                pass
        temporary = target.with_name(f".{target.name[:200]}.tmp")
        try:
            shutil.copy2(source, temporary)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            target.unlink()
            raise
    if move:
        source.unlink()
