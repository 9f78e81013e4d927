"""A run's folder: what was logged, which stages are done, with which settings, in how long."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class RunFolder:
    """The output folder of a run: metrics, and which stages are done with which settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._stages = folder / "stages.json"

    def done(self, stage: str, fingerprint: str) -> bool:
        return self._read().get(stage, {}).get("fingerprint") == fingerprint

    def seconds(self) -> dict[str, float]:
        """Seconds per finished stage, over all the times it was started."""
        return {stage: entry["seconds"] for stage, entry in self._read().items()}

    def finish(self, stage: str, fingerprint: str, seconds: float) -> None:
        stages = self._read()
        stages[stage] = {"fingerprint": fingerprint, "seconds": round(seconds, 2)}
        temporary = self._stages.with_suffix(".tmp")
        temporary.write_text(json.dumps(stages, indent=2), "utf-8")
        temporary.replace(self._stages)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add a block's seconds to the stage's, so a resumed run counts all its parts."""
        started, before = time.monotonic(), self.seconds().get(stage, 0.0)
        try:
            yield
        finally:
            self.finish(stage, "", before + time.monotonic() - started)

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


def fingerprint(*parts: Any) -> str:
    """A short hash of JSON-able parts."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
