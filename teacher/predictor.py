"""A teacher as a predictor: pictures in, the means of several texts' scores out.

From the command line it is `rali evaluate teacher:NAME`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rali.errors import InputError
from rali.files import from_json
from rali.scoring.scorer import Result

if TYPE_CHECKING:
    from .engines import Engine, Sampling


def is_teacher(model: str | Path) -> bool:
    """Whether a model is "nano", or a folder with a language model, not a student."""
    folder = Path(model)
    if not folder.exists():
        return model == "nano"
    try:
        config = from_json((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type", "rali") != "rali"


class TeacherPredictor:
    """A teacher that scores pictures, each by the mean of several texts.

        from rali.evaluation.evaluate import evaluate
        from rali.teacher.predictor import TeacherPredictor

        evaluation, scores = evaluate(TeacherPredictor("runs/vq/model"), ["manifest.csv"])

    Args:
        model: "nano", a teacher's folder or a Hub id; beside a loaded engine, what it is known as.
        prompt: the prompt for a score: its name, or a YAML file with a question of your own.
        samples: texts per picture. Where this, `prompt` or `sampling` is None, the teacher is asked
            as it was trained or as its authors do, and any other by `decoding.DEFAULTS`.
        batch_size: texts generated side by side.
        engine: "transformers", "vllm", or a loaded `rali.teacher.engines.Engine`, which takes the
            place of `model`.
        sampling: how texts are drawn; or some fields of a `Sampling`, which leave the others alone.
        texts: a file in which the teacher's texts are kept as they come, and from which those that
            it has are taken; None keeps none.

    Attributes:
        decoding: how it is asked for a score. perceiving: how it is asked for a degradation, one
            text a picture.
        meter: what its server was asked for and took, over all runs of the question with these
            `texts`.

    Raises:
        InputError: there is no such model, prompt or engine.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        prompt: str | dict[str, Any] | None = None,
        samples: int | None = None,
        batch_size: int = 8,
        engine: str | Engine = "transformers",
        sampling: Sampling | Mapping[str, Any] | None = None,
        texts: Path | None = None,
    ) -> None:
        from .decoding import decoding_of
        from .engines import load_engine
        from .kept import KeptTexts
        from .meter import Meter
        from .requests import Metered, Sampling

        name = model or ("nano" if isinstance(engine, str) else engine.name)
        drawn = asdict(sampling) if isinstance(sampling, Sampling) else dict(sampling or {})
        served = engine == "openai" or isinstance(engine, Metered)
        self.decoding = decoding_of(name, prompt=prompt, samples=samples, served=served, **drawn)
        self.prompt = self.decoding.find_prompt()
        self.perceiving = decoding_of(name, "degradation", served=served, **drawn)
        if isinstance(engine, str):
            engine = load_engine(engine, name, batch_size=batch_size)
        self.engine = engine if texts is None else KeptTexts(engine, texts)
        self.meter = Meter(self.engine, self.decoding)
        self._texts = texts

    def score_many(self, sources: Sequence[Path]) -> Iterator[Result]:
        """One `Result` per picture, in order: a score from 1 to 5, or the error.

        Raises:
            InputError: the prompt does not ask for a score, or a server does not answer any more.
        """
        from .ask import score
        from .requests import different

        self.meter.turn_to(self.decoding)
        count = different(self.prompt, self.decoding.sampling, self.decoding.samples)
        step = max(1, self.engine.chunk // count)
        for start in range(0, len(sources), step):
            some = [Path(source) for source in sources[start : start + step]]
            scored = score(
                self.engine, some, self.prompt,
                samples=self.decoding.samples, sampling=self.decoding.sampling,
            )  # fmt: skip
            self._count()
            for found in scored:
                yield Result(found.image, found.score, found.error)

    def perceive(self, sources: Sequence[Path]) -> Iterator[tuple[str, int] | None]:
        """Degradation class and severity (0–5) of each picture; None where no answer is read.

        Raises:
            InputError: a picture cannot be read, or a server does not answer any more; it must
                not count as a wrong answer.
        """
        from .answers import Degradation
        from .ask import ask
        from .engines import Request

        self.meter.turn_to(self.perceiving)
        prompt, step = self.perceiving.find_prompt(), self.engine.chunk
        for start in range(0, len(sources), step):
            some = [Request((path,), prompt) for path in sources[start : start + step]]
            replies = ask(self.engine, some, self.perceiving.sampling)
            self._count()
            for reply in replies:
                answer = reply.answer
                if answer is None:
                    raise InputError(f"{reply.images[0]} has no answer: {reply.error}")
                if isinstance(answer, Degradation):
                    yield answer.distortion, answer.severity or 0
                else:
                    yield None

    def _count(self) -> None:
        """Note what a server was paid for so far; an error where it has gone."""
        self.meter.read()
        self.meter.check(
            f"The texts that came are kept in {self._texts}; the same command asks for the rest."
            if self._texts
            else "The texts that came are lost; `rali evaluate -o DIR` would keep them."
        )
