"""What can be evaluated: a student, an ONNX file, a teacher, a CSV of predictions, a pyiqa metric.

In: what was typed. Out: what `rali.evaluate.predict` takes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rali.errors import InputError, PictureError
from rali.scorer import Result
from rali.tables import read_csv, resolve_path

MODEL_HELP = (
    "`builtin`, a model folder, an ONNX file, a hub id; a teacher's folder, or `teacher:NAME`; a "
    "CSV of predictions (image, predicted or score); `pyiqa:METRIC`."
)


def judge(model: str, batch_size: int = 8, prompt: str | None = None) -> Any:
    """What the words on the command line mean.

    Args:
        prompt: by which a teacher is asked for a score; None takes VisualQuality-R1's.

    Raises:
        InputError: a CSV that holds no predictions, a metric that pyiqa does not have, or a prompt
            for something that is no teacher.
    """
    kind, _, name = model.partition(":")
    named = kind == "teacher" and name
    if named or is_teacher(Path(model)):
        teacher = name if named else model
        return TeacherJudge(teacher, batch_size, prompt or "visualquality-r1/score")
    if prompt is not None:
        raise InputError(f"--prompt is for a teacher, which {model} is not.")
    if kind == "pyiqa" and name:
        return PyiqaMetric(name)
    if model.lower().endswith(".csv"):
        return Predictions(Path(model))
    return model


def is_teacher(folder: Path) -> bool:
    """Whether a folder holds a language model that transformers loads, not a student."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type", "rali") != "rali"


class Predictions:
    """Scores that something else gave, from a CSV with `image` and `predicted` or `score`.

    A picture is known by its path, relative to the CSV, or else by its file name.
    """

    def __init__(self, path: Path) -> None:
        header, records = read_csv(path)
        column = next((name for name in ("predicted", "score") if name in header), None)
        if "image" not in header or column is None:
            raise InputError(
                f"{path} has the columns {', '.join(header) or 'none'}; predictions need `image` "
                "and `predicted` (or `score`)."
            )
        self.path = path
        self._by_path: dict[Path, float] = {}
        self._by_name: dict[str, float | None] = {}
        for line, record in records:
            image, text = record.get("image") or "", record.get(column) or ""
            try:
                value = float(text)
            except ValueError:
                raise InputError(
                    f"{path}, row {line}, column {column!r}: {text!r} is not a number."
                ) from None
            self._by_path[resolve_path(image, path.parent)] = value
            name = Path(image).name
            self._by_name[name] = None if name in self._by_name else value  # two: not known by name

    def score_many(self, sources: Sequence[Path]) -> Iterator[Result]:
        for source in sources:
            value = self._by_path.get(source, self._by_name.get(source.name))
            yield Result(source, value, None if value is not None else f"not in {self.path}")


class TeacherJudge:
    """A teacher as a scorer: means of five texts, as in the papers' tests."""

    def __init__(self, model: str, batch_size: int, prompt: str, samples: int = 5) -> None:
        from rali.cli._teacher import engine_of
        from rali.teacher.prompts import find_prompt

        self.prompt = find_prompt(prompt)
        self.engine = engine_of("transformers", model, batch_size, None)
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


class PyiqaMetric:
    """A metric of pyiqa; where lower is better its sign is turned, so that ranks agree."""

    def __init__(self, name: str) -> None:
        try:
            import pyiqa
        except ImportError:
            raise InputError(
                "pyiqa's metrics need pyiqa, which is not installed. Type: pip install pyiqa"
            ) from None
        if name not in pyiqa.list_models():
            raise InputError(
                f"pyiqa has no metric {name!r}; it has {', '.join(pyiqa.list_models())}."
            )
        try:
            self.metric = pyiqa.create_metric(name)
        except Exception as error:  # what a download raises is not for us to list
            raise InputError(f"pyiqa could not load {name}: {error}") from error
        self.sign = -1.0 if self.metric.lower_better else 1.0

    def score_many(self, sources: Sequence[Path]) -> Iterator[Result]:
        import torch

        from rali.pictures import open_picture

        for source in sources:
            try:
                pixels = torch.from_numpy(open_picture(source).copy()).permute(2, 0, 1)
            except PictureError as error:
                yield Result(source, None, str(error))
                continue
            with torch.no_grad():
                value = self.sign * float(self.metric(pixels[None] / 255.0))
            known = math.isfinite(value)
            yield Result(source, value if known else None, None if known else "no finite score")
