"""A teacher is asked: for scores with their spread, degradations, descriptions, comparisons.

In: an engine and pictures. Out: one typed result per picture or pair. A picture that cannot be
read, or about which a server says nothing, is a result with an `error`; it does not end the batch.
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
from rali.runs.progress import Progress, renamed, silent

from .answers import Answer, Comparison, Failure, Score
from .completions import parse
from .models import opened
from .prompts import Prompt
from .questions import find_prompt
from .requests import Engine, NoText, Request, Sampling, different, finished
from .tasks import TASKS, to_quality


@dataclass(frozen=True)
class TeacherScore:
    """A teacher's score of one picture, over several samples.

    Attributes:
        image: the file.
        score: mean of the parsed samples' scores, 1–5; None where no sample could be parsed.
        spread: standard deviation (unbiased) of these scores; None for fewer than two.
        parsed: number of samples that could be parsed. samples: number that were drawn.
        reasoning: that of the sample whose score is nearest to the mean.
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
class Reply:
    """What a teacher answered about one picture or several.

    Attributes:
        images: the files.
        answer: the typed answer; None where a picture could not be read, or the request failed.
        text: all that the teacher wrote.
        error: why there is no answer.
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
    progress: Progress = silent,
) -> list[TeacherScore]:
    """The teacher's scores of pictures, each the mean of `samples` samples.

    At temperature 0 all samples are the same, as are those of a judge, which writes nothing: then
    only one is drawn.

    Raises:
        InputError: the prompt does not ask for a score, or `samples` is below 1.
    """
    if TASKS[prompt.task].answer is not Score or samples < 1:
        raise InputError(
            f"Scoring needs a prompt for a score and 1 sample or more; given {prompt.name!r} and "
            f"{samples}."
        )
    sampling = sampling or Sampling()
    requests = score_requests(pictures, prompt, samples, sampling)
    samples = len(requests) // len(pictures) if pictures else samples
    replies = ask(engine, requests, sampling, progress=renamed(progress, "score"))
    return [
        _mean(path, replies[index * samples : (index + 1) * samples], prompt)
        for index, path in enumerate(pictures)
    ]


def score_requests(
    pictures: Sequence[Path], prompt: Prompt, samples: int, sampling: Sampling
) -> list[Request]:
    """The requests by which `score` scores pictures, one picture's after another's."""
    seeds = range(different(prompt, sampling, samples))
    return [Request((path,), prompt, seed) for path in pictures for seed in seeds]


def _mean(path: Path, replies: Sequence[Reply], prompt: Prompt) -> TeacherScore:
    if all(reply.answer is None for reply in replies):
        return TeacherScore(path, None, None, 0, len(replies), error=replies[0].error)
    parsed = [reply.answer for reply in replies if isinstance(reply.answer, Score)]
    values = np.array([to_quality(answer.value, prompt) for answer in parsed])
    if not len(values):
        error = f"None of {len(replies)} answers could be parsed."
        return TeacherScore(path, None, None, 0, len(replies), error=error)
    mean = float(values.mean())
    return TeacherScore(
        image=path,
        score=mean,
        spread=float(values.std(ddof=1)) if len(values) > 1 else None,
        parsed=len(values),
        samples=len(replies),
        reasoning=parsed[int(np.abs(values - mean).argmin())].reasoning,
    )


def ask(
    engine: Engine,
    requests: Sequence[Request],
    sampling: Sampling | None = None,
    *,
    progress: Progress = silent,
) -> list[Reply]:
    """Replies to requests, in order; the engine is given its `chunk` of them at a time."""
    found: list[Reply] = []
    unreadable: dict[Path, str] = {}
    for start in range(0, len(requests), engine.chunk):
        some = requests[start : start + engine.chunk]
        found += _ask_batch(engine, some, sampling or Sampling(), unreadable)
        progress("ask", len(found), len(requests))
    return found


def _ask_batch(
    engine: Engine, requests: Sequence[Request], sampling: Sampling, unreadable: dict[Path, str]
) -> list[Reply]:
    def readable() -> list[Request]:
        return [r for r in requests if not any(path in unreadable for path in r.images)]

    def drawn() -> list[str | NoText]:
        some = readable()
        texts = dict(finished(engine, some, sampling)) if some else {}
        return [texts[place] for place in range(len(some))]

    try:
        texts = drawn()
    except PictureError:
        for path in dict.fromkeys(path for request in readable() for path in request.images):
            try:
                opened(path)
            except PictureError as reason:
                unreadable[path] = str(reason)
        texts = drawn()
    written = iter(texts)
    found = []
    for request in requests:
        bad = next((path for path in request.images if path in unreadable), None)
        if bad:
            found.append(Reply(request.images, None, error=unreadable[bad]))
            continue
        text = next(written)
        if isinstance(text, NoText):
            failure = Failure(text.reason) if text.refused else None
            named = text.reason if text.refused else f"{request.images[0]}: {text.reason}"
            found.append(Reply(request.images, failure, error=named))
            continue
        answer = parse(text, request.prompt)
        error = answer.reason if isinstance(answer, Failure) else None
        found.append(Reply(request.images, answer, text, error))
    return found


def compare_both_ways(
    engine: Engine,
    pairs: Sequence[tuple[Path, Path, Path | None]],
    *,
    prompt: Prompt | None = None,
    sampling: Sampling | None = None,
    progress: Progress = silent,
) -> list[tuple[Reply, Reply]]:
    """Compare pairs of pictures in both orders, as a teacher may favour a place.

    The second answer is swapped back: in both, `A` is the pair's first picture.

    Args:
        pairs: (first, second, reference).
        prompt: a prompt for a comparison; by default Q-Insight's, with a reference that which
            shows it.
        sampling: by default the likeliest texts (temperature 0).

    Raises:
        InputError: the prompt is for something else, or shows a reference where a pair has none,
            or the other way round.
    """
    requests = comparison_requests(pairs, prompt)
    sampling = sampling or Sampling(temperature=0)
    replies = ask(engine, requests, sampling, progress=renamed(progress, "compare"))
    return [(replies[i], _swapped(replies[i + 1])) for i in range(0, len(replies), 2)]


def comparison_requests(
    pairs: Sequence[tuple[Path, Path, Path | None]], prompt: Prompt | None = None
) -> list[Request]:
    """The requests by which `compare_both_ways` compares pairs, two for each."""
    if prompt is not None and TASKS[prompt.task].answer is not Comparison:
        raise InputError(f"Comparing needs a prompt for a comparison; given {prompt.name!r}.")
    requests = []
    for first, second, reference in pairs:
        usual = "q-insight/compare-reference" if reference else "q-insight/compare"
        own = prompt or find_prompt(usual)
        if ("reference" in own.images) != (reference is not None):
            has = "has a reference, which" if reference else "has no reference, but"
            shows = "does not show" if reference else "shows one"
            raise InputError(
                f"The pair {first}, {second} {has} the prompt {own.name} {shows}; give another "
                "--prompt, or the pair with another --reference."
            )
        for a, b in ((first, second), (second, first)):
            places = {"image_a": a, "image_b": b, "reference": reference}
            images = tuple(path for name in own.images if (path := places[name]) is not None)
            requests.append(Request(images, own))
    return requests


def _swapped(reply: Reply) -> Reply:
    if not isinstance(reply.answer, Comparison):
        return reply
    choice = {"A": "B", "B": "A"}.get(reply.answer.choice, reply.answer.choice)
    return dataclasses.replace(reply, answer=dataclasses.replace(reply.answer, choice=choice))


def agreement(scored: Sequence[tuple[Row, TeacherScore]]) -> dict[str, float | None]:
    """How well a teacher's scores agree with people's, over the pictures that have both.

    Returns:
        `srcc` and `plcc` of the means (None where they are not defined: fewer than three scores,
        or all the same), `n` such pictures, the mean `spread`, and the share of samples `parsed`.
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
