"""A run's folder: its log, its finished stages with settings and seconds, its lock, its claim.

A claim notes in a folder what it is made from, so that its files never mix with those of other
settings.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rali.errors import InputError
from rali.files import from_json, read_json, replace_atomically

from .config import read_yaml, write_yaml


class RunFolder:
    """The output folder of a run: metrics, and which stages are done with which settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._stages = folder / "stages.json"

    def done(self, stage: str, fingerprint: str) -> bool:
        """Whether the stage was finished with these settings."""
        entry = self._read().get(stage, {})
        return entry.get("fingerprint") == fingerprint and entry.get("done", False)

    def forget(self, stage: str) -> None:
        """Take a stage's note away, before the file that it speaks of is replaced."""
        stages = self._read()
        if stages.pop(stage, None) is not None:
            write_json(stages, self._stages)

    def seconds(self) -> dict[str, float]:
        """Seconds per stage, summed over all tries that were not killed outright."""
        return {stage: entry["seconds"] for stage, entry in self._read().items()}

    @contextmanager
    def timed(self, stage: str, fingerprint: str = "") -> Iterator[None]:
        """Run a block as a stage, which is done when the block ends without an error.

        With the same fingerprint the seconds of a stopped try are added to the next one's. A
        finished stage that only finds its files again keeps the seconds of its work.
        """
        entry = self._read().get(stage, {})
        entry = entry if entry.get("fingerprint") == fingerprint else {}
        before, started, done = entry.get("seconds", 0.0), time.monotonic(), False
        try:
            yield
            done = True
        finally:
            taken = time.monotonic() - started
            seconds = max(before, taken) if entry.get("done") else before + taken
            stages = self._read()
            stages[stage] = {"fingerprint": fingerprint, "seconds": round(seconds, 2), "done": done}
            write_json(stages, self._stages)

    def log(self, **row: Any) -> None:
        """Append a row to metrics.jsonl; it names its `stage` and `step`."""
        add_row(row, self.folder / "metrics.jsonl")

    def metrics(self) -> list[dict[str, Any]]:
        """All logged rows; where a stage logs a step again, its later old rows are dropped.

        So a step done twice after a kill counts once, and a changed setting leaves no old tail.
        """
        stages: dict[str, list[dict[str, Any]]] = {}
        for row in read_rows(self.folder / "metrics.jsonl", "stage", "step"):
            logged = stages.setdefault(row["stage"], [])
            while logged and logged[-1]["step"] >= row["step"]:
                logged.pop()
            logged.append(row)
        return [row for logged in stages.values() for row in logged]

    def _read(self) -> dict[str, Any]:
        return read_claim(self._stages)


@contextmanager
def alone_in(folder: str | Path) -> Iterator[None]:
    """Keep every other process out of `folder` during a block; the lock ends with the process.

    Under `accelerate launch` the first process holds it for all.

    Raises:
        InputError: another process is at work there.
    """
    from filelock import FileLock, Timeout

    if os.environ.get("RANK", "0") != "0":
        yield
        return
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"Another process is at work in {folder}; wait for its end, or give another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()


def remove_own(folder: Path, *names: str) -> None:
    """Delete files of a folder, and the folder itself where nothing but its lock is left."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
    if folder.is_dir() and all(path.name == ".lock" for path in folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)


def claim(
    stamp: Path,
    values: Mapping[str, Any],
    refusal: Callable[[dict[str, Any]], str],
    *,
    same: Callable[[Any, Any], bool] = operator.eq,
    free: Collection[str] = (),
    grows: bool = False,
    write: bool = True,
) -> None:
    """Note in a folder what it is made from; refuse a folder that is made from something else.

    Args:
        stamp: the note, a file in the folder: YAML by its ending, else JSON.
        values: what the folder is made from, by name. A name that only the note or only `values`
            has is no difference.
        refusal: the error's sentence, given the noted values that differ.
        same: whether a noted value (first) agrees with a new one.
        free: names whose values may change.
        grows: the note keeps the names that `values` lacks; otherwise it is written anew.
        write: False only compares.

    Raises:
        InputError: a noted value differs, or the note is damaged. The note stays as it was.
    """
    noted = read_claim(stamp)
    shared = [name for name in values if name in noted and name not in free]
    other = {name: noted[name] for name in shared if not same(noted[name], values[name])}
    if other:
        raise InputError(refusal(other))
    if not write:
        return
    now = {**noted, **values} if grows else dict(values)
    (write_yaml if stamp.suffix == ".yaml" else write_json)(now, stamp)


def read_claim(stamp: Path) -> dict[str, Any]:
    """What `claim` noted; nothing where there is no note.

    Raises:
        InputError: the note is damaged.
    """
    if not stamp.is_file():
        return {}
    advice = (
        f"So what {stamp.parent} holds is not known: give another folder, or delete {stamp.parent}."
    )
    if stamp.suffix != ".yaml":
        return read_json(stamp, advice)
    try:
        return read_yaml(stamp)
    except InputError as error:
        raise InputError(f"{error} {advice}") from error


def add_row(row: Mapping[str, Any], path: Path) -> None:
    """Append a line of JSON; one that a kill or a full disk cut short is ended first."""
    with path.open("a+b") as file:
        if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
            file.write(b"\n")
        file.write(json.dumps(row).encode() + b"\n")


def read_rows(path: Path, *names: str) -> Iterator[dict[str, Any]]:
    """The lines of JSON in a file, if there is one, without those that were cut short.

    Args:
        names: what each row has.
    """
    if not path.is_file():
        return
    for line in path.read_bytes().splitlines():
        try:
            row = from_json(line)
        except ValueError:
            continue
        if isinstance(row, dict) and row.keys() >= set(names):
            yield row


def write_json(values: Any, path: Path) -> None:
    """Save JSON-able values, indented, whole or not at all."""
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    replace_atomically(path, lambda target: target.write_text(text, "utf-8"), durable=True)


def fingerprint(*parts: Any) -> str:
    """A short hash of JSON-able parts."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
