"""A teacher as a predictor: pictures in, means of several texts' scores out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from rali.errors import InputError
from rali.scoring.scorer import Result


def is_teacher(folder: Path) -> bool:
    """Whether a folder holds a language model that transformers loads, not a student."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type", "rali") != "rali"


class TeacherJudge:
    """A teacher as a scorer: means of five texts, as in the papers' tests."""

    def __init__(self, model: str, batch_size: int, prompt: str, samples: int = 5) -> None:
        from rali.teacher.engines import load_engine
        from rali.teacher.prompts import find_prompt

        self.prompt = find_prompt(prompt)
        self.engine = load_engine("transformers", model, batch_size=batch_size)
        self.samples, self.chunk = samples, max(1, batch_size)

    def score_many(self, sources: Sequence[Path]) -> Iterator[Result]:
        from rali.teacher.ask import score

        for start in range(0, len(sources), self.chunk):
            some = sources[start : start + self.chunk]
            for found in score(self.engine, some, self.prompt, samples=self.samples):
                yield Result(found.image, found.score, found.error)

    def perceive(self, sources: Sequence[Path]) -> Iterator[tuple[str, int] | None]:
        """Degradation class and severity of each picture; None where the answer is not one.

        Raises:
            InputError: a picture cannot be read; it must not count as a wrong answer.
        """
        from rali.teacher.answers import Degradation
        from rali.teacher.ask import ask
        from rali.teacher.engines import Request
        from rali.teacher.prompts import find_prompt

        prompt = find_prompt("q-insight/degradation")
        for start in range(0, len(sources), self.chunk):
            requests = [Request((p,), prompt) for p in sources[start : start + self.chunk]]
            for told in ask(self.engine, requests):
                answer = told.answer
                if answer is None:
                    raise InputError(f"{told.images[0]} has no answer: {told.error}")
                yield (
                    (answer.distortion, answer.severity or 0)
                    if isinstance(answer, Degradation)
                    else None
                )
