"""What a teacher's server was asked for and took, and whether it still answers.

In: an engine and how it is asked. Out: requests, tokens and their price, over all runs that asked
the same and kept their texts in one place, as a dictionary and as a line. An engine that asks no
server has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rali.errors import InputError
from rali.files import read_json
from rali.runs.folder import fingerprint, write_json

from .authors import Decoding
from .kept import KeptTexts
from .requests import Engine, Metered


class Meter:
    """Reads the meter of an engine, or of the one whose texts a `KeptTexts` keeps.

    Beside kept texts it is noted in `server.json`, under the engine's mark and the question, and a
    later run of the same question adds to it: a kill does not forget what was paid for.

    Args:
        asked: how it is asked: prompts and sampling. More texts of these are the same question.

    Attributes:
        used: as `OpenaiEngine.usage` says; None where no server is asked.
        together: texts of one picture that are best asked for in a row.
        stopped: why nothing is sent any more; empty while the server answers.

    Raises:
        InputError: the note is damaged.
    """

    def __init__(self, engine: Engine, *asked: Decoding) -> None:
        kept = engine if isinstance(engine, KeptTexts) else None
        inner = kept.engine if kept else engine
        self._engine = inner if isinstance(inner, Metered) else None
        self._mark, self._key = engine.mark, ""
        self._note = kept.file.with_name("server.json") if kept and self._engine else None
        self.used: dict[str, Any] | None = None
        self.turn_to(*asked)

    def turn_to(self, *asked: Decoding) -> None:
        """Count from now on for another question; what was used so far is noted for the last."""
        parts = [
            (prompt.name, prompt.messages(), prompt.stem, prompt.levels, asdict(how.sampling))
            for how in asked
            for prompt in (how.find_prompt(),)
        ]
        key = f"{self._mark} question {fingerprint(parts)}"
        if key != self._key:
            if self._key:
                self.read()
            self._key, self.used = key, self._noted().get(key)

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
            write_json({**self._noted(), self._key: self.used}, self._note)
        return self.used

    def forget(self) -> None:
        """Drop the note, once it was said and the texts are written elsewhere."""
        noted = self._noted()
        if self._note and noted.pop(self._key, None):
            write_json(noted, self._note)

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
