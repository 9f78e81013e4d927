"""A run's folder: what was logged, which stages are done, with which settings, in how long."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rali.errors import InputError
from rali.files import replace_atomically


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

    def seconds(self) -> dict[str, float]:
        """Seconds per stage, over all the tries that were not killed outright."""
        return {stage: entry["seconds"] for stage, entry in self._read().items()}

    @contextmanager
    def timed(self, stage: str, fingerprint: str = "") -> Iterator[None]:
        """A block that is a stage: it is done when the block ends without an error.

        With the same fingerprint the seconds of a stopped try are added to the next one's, and a
        finished stage that only looks what is there keeps the seconds of its work.
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
            text = json.dumps(stages, indent=2)
            replace_atomically(self._stages, lambda path: path.write_text(text, "utf-8"))

    def log(self, **row: Any) -> None:
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All logged rows; a stage that went back to a step forgets what it had logged from there.

        So a step done twice after a kill counts once, and a changed setting leaves no old tail.
        """
        path = self.folder / "metrics.jsonl"
        if not path.is_file():
            return []
        stages: dict[str, list[dict[str, Any]]] = {}
        for line in path.read_text("utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:  # the line a kill cut short
                continue
            logged = stages.setdefault(row["stage"], [])
            while logged and logged[-1]["step"] >= row["step"]:
                logged.pop()
            logged.append(row)
        return [row for logged in stages.values() for row in logged]

    def _read(self) -> dict[str, Any]:
        return json.loads(self._stages.read_text("utf-8")) if self._stages.is_file() else {}


@contextmanager
def alone_in(folder: str | Path) -> Iterator[None]:
    """A block in which no other process works in `folder`; the lock goes with the process.

    Of the processes of `accelerate launch` the first holds it for all.

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
            f"another process is at work in {folder}; wait for its end, or give another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()


def fingerprint(*parts: Any) -> str:
    """A short hash of JSON-able parts."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_marks(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Name, size and time of change of each file: whether it is still the one it was."""
    found = []
    for path in paths:
        stat = path.stat()
        found.append((str(path), stat.st_size, stat.st_mtime_ns))
    return found
