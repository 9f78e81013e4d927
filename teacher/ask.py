"""A teacher as a judge: scores with their spread, degradations, descriptions, comparisons.

In come an engine and pictures; out comes one typed result per picture or pair. A picture that
cannot be read is a result with `error`, never the end of the batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rali.errors import InputError, PictureError
from rali.pictures import open_picture

from .answers import Answer, Comparison, Failure, Score, parse
from .engines import Engine, Request, Sampling
from .prompts import Prompt
from .tasks import to_quality

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class TeacherScore:
    """A teacher's score of one picture, over several samples.

    Attributes:
        image: the file.
        score: mean of the parsed samples' scores, 1–5; None where there is none.
        spread: their standard deviation (unbiased); None for fewer than two.
        parsed: how many of the samples could be parsed. samples: how many were drawn.
        reasoning: of the sample whose score is nearest to the mean.
        error: why there is no score.
    """

    image: Path
    score: float | None
    spread: float | None
    parsed: int
    samples: int
    reasoning: str = ""
    error: str | None = None


@dataclass(frozen=True)
class Told:
    """What a teacher answered about one picture or several.

    Attributes:
        images: the files. answer: typed, or None where a picture could not be read.
        text: all that the teacher wrote. error: why there is no answer.
    """

    images: tuple[Path, ...]
    answer: Answer | None
    text: str = ""
    error: str | None = None


def score(
    engine: Engine,
    pictures: Sequence[Path],
    prompt: Prompt,
    *,
    samples: int = 5,
    sampling: Sampling | None = None,
    progress: Progress | None = None,
) -> list[TeacherScore]:
    """The teacher's scores of pictures, the means of `samples` samples.

    At temperature 0 all samples are the same: one is drawn.

    Raises:
        InputError: a prompt that does not ask for a score, or no samples.
    """
    if prompt.task != "score" or samples < 1:
        raise InputError(
            f"scoring needs a prompt for a score and samples of 1 or more; given {prompt.name!r} "
            f"and {samples}."
        )
    sampling = sampling or Sampling()
    samples = samples if sampling.temperature > 0 else 1
    requests = [Request((path,), prompt, seed) for path in pictures for seed in range(samples)]
    told = ask(engine, requests, sampling, progress=progress)
    return [
        _mean(path, told[index * samples : (index + 1) * samples], prompt)
        for index, path in enumerate(pictures)
    ]


def _mean(path: Path, told: Sequence[Told], prompt: Prompt) -> TeacherScore:
    if told[0].error is not None and told[0].answer is None:
        return TeacherScore(path, None, None, 0, len(told), error=told[0].error)
    parsed = [t.answer for t in told if isinstance(t.answer, Score)]
    values = np.array([to_quality(answer.value, prompt) for answer in parsed])
    if not len(values):
        return TeacherScore(
            path, None, None, 0, len(told), error=f"none of {len(told)} answers could be parsed"
        )
    mean = float(values.mean())
    return TeacherScore(
        image=path,
        score=mean,
        spread=float(values.std(ddof=1)) if len(values) > 1 else None,
        parsed=len(values),
        samples=len(told),
        reasoning=parsed[int(np.abs(values - mean).argmin())].reasoning,
    )


def ask(
    engine: Engine,
    requests: Sequence[Request],
    sampling: Sampling | None = None,
    *,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> list[Told]:
    """Answers to requests, in order.

    Args:
        batch_size: requests given to the engine at a time.
        progress: called with (requests done, requests).
    """
    sampling = sampling or Sampling()
    found: list[Told] = []
    reasons: dict[Path, str | None] = {}
    for start in range(0, len(requests), batch_size):
        batch = requests[start : start + batch_size]
        bad = {
            index: reason
            for index, request in enumerate(batch)
            if (reason := _unreadable(request, reasons))
        }
        good = [request for index, request in enumerate(batch) if index not in bad]
        texts = iter(engine.generate(good, sampling) if good else [])
        for index, request in enumerate(batch):
            if index in bad:
                found.append(Told(request.images, None, error=bad[index]))
                continue
            text = next(texts)
            answer = parse(text, request.prompt)
            error = answer.reason if isinstance(answer, Failure) else None
            found.append(Told(request.images, answer, text, error))
        if progress:
            progress(len(found), len(requests))
    return found


def _unreadable(request: Request, known: dict[Path, str | None]) -> str | None:
    for path in request.images:
        if path not in known:
            try:
                open_picture(path)
                known[path] = None
            except PictureError as error:
                known[path] = f"{path}: {error}"
        if known[path]:
            return known[path]
    return None


def compare_both_ways(
    engine: Engine,
    first: Path,
    second: Path,
    prompt: Prompt,
    *,
    reference: Path | None = None,
    sampling: Sampling | None = None,
) -> list[Told]:
    """Compare two pictures in both orders, as a teacher may favour a place.

    The second answer is turned round: in both, `A` is `first`.

    Raises:
        InputError: a reference is given or missing against the prompt's wish.
    """
    if ("reference" in prompt.images) != (reference is not None):
        raise InputError(
            f"the prompt {prompt.name!r} shows {', '.join(prompt.images)}; a reference was "
            f"{'not ' if reference is None else ''}given."
        )
    requests = []
    for a, b in ((first, second), (second, first)):
        places = {"image_a": a, "image_b": b, "reference": reference}
        images = tuple(path for name in prompt.images if (path := places[name]) is not None)
        requests.append(Request(images, prompt))
    forward, backward = ask(engine, requests, sampling or Sampling(temperature=0))
    if isinstance(backward.answer, Comparison):
        turned = {"A": "B", "B": "A"}.get(backward.answer.choice, backward.answer.choice)
        backward = dataclasses.replace(
            backward, answer=dataclasses.replace(backward.answer, choice=turned)
        )
    return [forward, backward]
