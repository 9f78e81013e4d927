"""A teacher as a judge: scores with their spread, degradations, descriptions, comparisons.

In come an engine and pictures; out comes one typed result per picture or pair. A picture that
cannot be read is a result with `error`, never the end of the batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rali.data.manifest import Row
from rali.errors import InputError, PictureError
from rali.metrics import plcc, srcc
from rali.pictures.read import open_picture
from rali.runs.progress import Progress

from .answers import Answer, Comparison, Failure, Score, parse
from .engines import Engine, Request, Sampling
from .prompts import Prompt, find_prompt
from .tasks import to_quality


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
    if told[0].answer is None:
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
    found: list[Told] = []
    unreadable: dict[Path, str] = {}
    for start in range(0, len(requests), batch_size):
        found += _ask_batch(
            engine, requests[start : start + batch_size], sampling or Sampling(), unreadable
        )
        if progress:
            progress(len(found), len(requests))
    return found


def _ask_batch(
    engine: Engine, requests: Sequence[Request], sampling: Sampling, unreadable: dict[Path, str]
) -> list[Told]:
    def readable() -> list[Request]:
        return [r for r in requests if not any(path in unreadable for path in r.images)]

    try:
        texts = engine.generate(readable(), sampling) if readable() else []
    except PictureError:
        for path in dict.fromkeys(path for request in readable() for path in request.images):
            try:
                open_picture(path)
            except PictureError as reason:
                unreadable[path] = str(reason)
        texts = engine.generate(readable(), sampling) if readable() else []
    written = iter(texts)
    found = []
    for request in requests:
        bad = next((path for path in request.images if path in unreadable), None)
        if bad:
            found.append(Told(request.images, None, error=f"{bad}: {unreadable[bad]}"))
            continue
        text = next(written)
        answer = parse(text, request.prompt)
        error = answer.reason if isinstance(answer, Failure) else None
        found.append(Told(request.images, answer, text, error))
    return found


def compare_both_ways(
    engine: Engine,
    pairs: Sequence[tuple[Path, Path, Path | None]],
    *,
    sampling: Sampling | None = None,
    progress: Progress | None = None,
) -> list[tuple[Told, Told]]:
    """Compare pairs of pictures in both orders, as a teacher may favour a place.

    The second answer is turned round: in both, `A` is the pair's first picture.

    Args:
        pairs: (first, second, reference); with a reference, Q-Insight's prompt that shows it.
        sampling: by default the likeliest texts.
        progress: called with (texts done, texts).
    """
    requests = []
    for first, second, reference in pairs:
        name = "q-insight/compare-reference" if reference else "q-insight/compare"
        prompt = find_prompt(name)
        for a, b in ((first, second), (second, first)):
            places = {"image_a": a, "image_b": b, "reference": reference}
            images = tuple(path for name in prompt.images if (path := places[name]) is not None)
            requests.append(Request(images, prompt))
    told = ask(engine, requests, sampling or Sampling(temperature=0), progress=progress)
    return [(told[i], _turned(told[i + 1])) for i in range(0, len(told), 2)]


def _turned(told: Told) -> Told:
    if not isinstance(told.answer, Comparison):
        return told
    choice = {"A": "B", "B": "A"}.get(told.answer.choice, told.answer.choice)
    return dataclasses.replace(told, answer=dataclasses.replace(told.answer, choice=choice))


def agreement(scored: Sequence[tuple[Row, TeacherScore]]) -> dict[str, float | None]:
    """How a teacher's scores agree with people's, as far as the pictures have some.

    Returns:
        `srcc` and `plcc` of the means (None where they are not defined: fewer than three, or all
        the same), `n` of them, their mean `spread`, and `parsed`, a share of the samples.
    """
    pairs = [
        (found.score, row.score)
        for row, found in scored
        if found.score is not None and row.score is not None
    ]
    spreads = [found.spread for _, found in scored if found.spread is not None]
    values: dict[str, float | None] = {"srcc": None, "plcc": None, "n": len(pairs)}
    if len(pairs) > 2:
        predicted, truth = np.array(pairs, dtype=float).T
        with suppress(InputError):
            values |= {"srcc": srcc(predicted, truth), "plcc": plcc(predicted, truth)}
    values["spread"] = float(np.mean(spreads)) if spreads else None
    samples = sum(found.samples for _, found in scored)
    values["parsed"] = sum(found.parsed for _, found in scored) / max(1, samples)
    return values
