"""What a teacher's server was asked for and took, and whether it still answers.

In: an engine. Out: requests, tokens and their price, over all runs that kept their texts in one
place, as a dictionary and as a line. An engine that asks no server has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rali.errors import InputError
from rali.files import read_json
from rali.runs.folder import write_json

from .kept import KeptTexts
from .requests import Engine, Metered


class Meter:
    """Reads the meter of an engine, or of the one whose texts a `KeptTexts` keeps.

    Beside kept texts it is noted in `server.json`, under the engine's mark, and a later run adds to
    it: a kill does not forget what was paid for.

    Attributes:
        used: as `OpenaiEngine.usage` says; None where no server is asked.
        together: texts of one picture that are best asked for in a row.
        stopped: why nothing is sent any more; empty while the server answers.

    Raises:
        InputError: the note is damaged.
    """

    def __init__(self, engine: Engine) -> None:
        kept = engine if isinstance(engine, KeptTexts) else None
        inner = kept.engine if kept else engine
        self._engine = inner if isinstance(inner, Metered) else None
        self._mark = engine.mark
        self._note = kept.file.with_name("server.json") if kept and self._engine else None
        self.used: dict[str, Any] | None = self._noted().get(self._mark)

    @property
    def together(self) -> int:
        return self._engine.together if self._engine else 1

    @property
    def stopped(self) -> str:
        return self._engine.stopped if self._engine else ""

    def read(self) -> dict[str, Any] | None:
        """What was used so far, which is noted where there is a place for it."""
        if self._engine is None:
            return self.used
        before, self.used = self.used, self._engine.usage(self.used or {})
        if self._note and self.used["requests"] and self.used != before:
            write_json({**self._noted(), self._mark: self.used}, self._note)
        return self.used

    def check(self, kept: str) -> None:
        """Raise where the server does not answer any more.

        Args:
            kept: a sentence on what became of the texts that came.
        """
        if self.stopped:
            raise InputError(f"{self.stopped} {kept}")

    def _noted(self) -> dict[str, Any]:
        if self._note is None or not self._note.is_file():
            return {}
        return read_json(self._note, "Delete it: then what was used before is not counted.")


def server_line(used: Mapping[str, Any]) -> str:
    """What was used of a server, in words."""
    seeds = {
        "held": "a seed that was drawn twice gave the same text",
        "not held": "a seed that was drawn twice gave another text, so the texts cannot be redrawn",
    }.get(used["seeds"], "")
    cost = f", cost {used['cost']:,.4f}" if "cost" in used else ""
    missing = used.get("uncounted", 0)
    line = (
        f"server: {used['requests']:,} requests ({used['retries']:,} of them again), "
        f"{used['input_tokens']:,} tokens in, {used['output_tokens']:,} out"
        + (f" (not counted by the server in {missing:,} answers)" if missing else "")
        + cost
    )
    return f"{line}; {seeds}." if seeds else f"{line}."
