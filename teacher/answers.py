"""What a teacher may answer: a type for each task, and how its words are read and written.

In: what stands inside the answer tags. Out: the values of a typed answer. Reading is tolerant of
white space, sentences that state the answer, single quotes, a bare `null` and synonyms of classes,
and it never guesses: two numbers, a denied one, one of other things, or one outside the prompt's
range are no score. `answer_text` knows the sentences; `completions` reads whole texts.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from rali.errors import InputError
from rali.pictures.degrade import SEVERITY_NAMES, canonical

from .answer_text import UnreadableError, blocks, pairs, stated_choice, stated_number
from .levels import levels_score
from .prompts import Prompt


@dataclass(frozen=True)
class Score:
    """A quality score and why; in the prompt's range, but where its `reading` takes any number."""

    value: float
    reasoning: str


@dataclass(frozen=True)
class Degradation:
    """A class of distortion or `null`; its severity 0 (none) to 5, or None where none was named."""

    distortion: str
    severity: int | None
    reasoning: str


@dataclass(frozen=True)
class Comparison:
    """Which of two pictures is better: `A`, `B` or `similar`."""

    choice: str
    reasoning: str


@dataclass(frozen=True)
class Description:
    """Free text on a picture's quality."""

    reasoning: str


@dataclass(frozen=True)
class Failure:
    """No answer could be read; `reason` says why. `reasoning` is as in the others, or empty."""

    reason: str
    reasoning: str = ""


Answer = Score | Degradation | Comparison | Description | Failure

# Keys as models spell them, with spaces for underscores and hyphens.
_RATING = ("rating", "score", "overall rating", "overall score", "quality rating", "quality score",
           "overall quality rating", "overall quality score", "image quality rating",
           "image quality score", "final rating", "final score")  # fmt: skip
_CLASS = ("class", "distortion", "distortion class", "distortion type",
          "degradation", "degradation class", "degradation type")  # fmt: skip
_SEVERITY = ("severity", "severity level", "level", "distortion severity", "distortion level",
             "degradation severity", "degradation level")  # fmt: skip
_SEVERITIES = {name: level for level, name in enumerate(SEVERITY_NAMES)} | {
    "null": 0,
    "no": 0,
    "minor": 1,
    "severe": 4,
    "extreme": 5,
}


def reasoning_of(text: str) -> str:
    """The text inside the last closed `<think>`, stripped; empty when there is none."""
    thoughts = blocks(text, "think")
    return thoughts[-1].content(text) if thoughts else ""


def _values(content: str, names: tuple[str, ...]) -> list[str]:
    """What the object in `content` (or the bare pairs) holds under a key of one of the names."""
    values = [value for key, value in pairs(content) if key in names]
    if len(set(values)) > 1:
        raise UnreadableError(f"The answer gives {names[0]} more than once.")
    return values[:1]


def read_score(content: str, prompt: Prompt, reasoning: str) -> Score:
    """The number on the prompt's scale that the content gives; raises `UnreadableError`."""
    if prompt.answer == "levels":
        return Score(levels_score(content, prompt), reasoning)
    values = _values(content, _RATING)
    if not values and "{" in content:
        raise UnreadableError("The answer has no rating.")
    number = stated_number(values[0] if values else content)
    value, most = float(number["value"]), number["most"]
    if not prompt.low <= value <= prompt.high or (most and float(most) != prompt.high):
        raise UnreadableError(
            f"{number[0]!r} is not on the scale from {prompt.low:g} to {prompt.high:g}."
        )
    return Score(value, reasoning)


def write_score(prompt: Prompt, *, score: float | None, **_: Any) -> str:
    """A score on the prompt's scale, with two decimals; empty without one."""
    if score is None:
        return ""
    number = f"{score:.2f}"
    return json.dumps({"rating": float(number)}) if prompt.answer == "json" else number


def read_degradation(content: str, prompt: Prompt, reasoning: str) -> Degradation:
    """The class and severity that the content names; raises `UnreadableError`."""
    named = _values(content, _CLASS)
    if not named:
        raise UnreadableError("The answer names no class of distortion.")
    name = named[0].strip("[]").strip().strip("\"'")
    try:
        distortion = canonical(name)
    except InputError as error:
        raise UnreadableError(str(error)) from None
    severities = _values(content, _SEVERITY)
    how = severities[0].lower() if severities else ""
    severity = int(how) if re.fullmatch("[0-5]", how) else _SEVERITIES.get(how)
    return Degradation(distortion, severity, reasoning)


def write_degradation(prompt: Prompt, *, distortion: str, severity: int, **_: Any) -> str:
    """A class or `null` with its severity, 0–5, as JSON; empty without a class."""
    if not distortion:
        return ""
    level = "null" if distortion == "null" else SEVERITY_NAMES[severity]
    return json.dumps({"distortion_class": distortion, "severity": level})


def read_comparison(content: str, prompt: Prompt, reasoning: str) -> Comparison:
    """The one of the prompt's choices that the content gives; raises `UnreadableError`."""
    choice = stated_choice(content)
    if choice not in prompt.choices:
        raise UnreadableError(f"The answer is not one of {', '.join(prompt.choices)}.")
    return Comparison(choice, reasoning)


def write_comparison(prompt: Prompt, *, choice: str, **_: Any) -> str:
    """A choice (`A`, `B` or `similar`) as its label; empty without one."""
    return {"A": "Image A", "B": "Image B", "similar": "Similar"}.get(choice, "")


def read_description(content: str, prompt: Prompt, reasoning: str) -> Description:
    """The content as it stands; raises `UnreadableError` where it is empty."""
    if not content:
        raise UnreadableError("The text is empty.")
    return Description(content)


def write_description(prompt: Prompt, *, reasoning: str, **_: Any) -> str:
    """The rationale alone."""
    return reasoning.strip()
