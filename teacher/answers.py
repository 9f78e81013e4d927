"""Reading what a teacher wrote: any text in, a typed answer or a typed failure out.

Tolerant of white space, prose around the answer, single quotes, a bare `null` and synonyms of
classes; never guessing: two numbers, a number cut off by the end of the text, or one outside the
prompt's range are failures, not scores. `format_reward` (Q-Insight §3.3) is the strict counterpart.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from rali.errors import InputError
from rali.pictures.degrade import SEVERITY_NAMES, canonical

from .prompts import Prompt


@dataclass(frozen=True)
class Score:
    """A quality score in the prompt's range, and why."""

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

THINK = re.compile(r"<\s*think\s*>(.*?)<\s*/\s*think\s*>", re.DOTALL | re.IGNORECASE)
ANSWER = re.compile(r"<\s*answer\s*>(.*?)<\s*/\s*answer\s*>", re.DOTALL | re.IGNORECASE)
_OBJECT = re.compile(r"\{([^{}]*)\}")
_PAIR = re.compile(
    r"""["']?(?P<key>[A-Za-z][A-Za-z _-]*?)["']?\s*:"""
    r"""\s*(?P<value>"[^"]*"|'[^']*'|\[[^\]]*\]|[^,\n]*(?:,(?=\s*[0-9.])[^,\n]*)*)"""
)
# A number that stands alone: no part of a word, a version, a percentage or a decimal comma.
NUMBER = re.compile(
    r"(?<![\w.,%-])(?P<value>[+-]?[0-9]+(?:\.[0-9]+)?)(?![\w%])(?![.,][0-9])(?!\s*%)"
    r"(?:\s*(?:/|out\s+of)\s*(?P<most>[0-9]+(?:\.[0-9]+)?)(?![\w%])(?![.,][0-9]))?"
)
_LABEL = re.compile(r"\bimage[\s_]*(?P<letter>[ab])\b|\b(?P<similar>similar|comparable)\b", re.I)
_LETTER = re.compile(r"\W*(?P<letter>[ab])\W*", re.I)
_DOUBT = re.compile(r"\b(?:not|never|neither|nor|or|than|worse|inferior|lower|less)\b|n['’]t", re.I)
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


class _UnreadableError(Exception):
    """Why there is no answer."""


def parse(text: str, prompt: Prompt) -> Answer:
    """What `text` answers to `prompt`.

    The last closed `<answer>` counts. Where there is none, a JSON object may stand bare after the
    reasoning, as its closing brace says that it is complete; a bare number or label may have been
    cut off and is a failure.
    """
    reasoning = reasoning_of(text)
    try:
        if prompt.task == "description":
            return _description(reasoning or text.strip())
        content = _content(text, prompt)
        if prompt.task == "score":
            return Score(_score(content, prompt), reasoning)
        if prompt.task == "degradation":
            return Degradation(*_degradation(content), reasoning)
        return Comparison(_comparison(content, prompt), reasoning)
    except _UnreadableError as error:
        return Failure(str(error), reasoning)


def reasoning_of(text: str) -> str:
    """The text inside the last closed `<think>`, stripped; empty when there is none."""
    thoughts = THINK.findall(text)
    return thoughts[-1].strip() if thoughts else ""


def format_reward(text: str, prompt: Prompt, *, strict: bool = False) -> float:
    """Q-Insight §3.3's format reward: 1 if the completion has the form that was asked for, else 0.

    Reasoning and answer stand in their tags, each once and in this order, with nothing but white
    space around them. Inside `<answer>`: one object without inner braces ("JSON-like"), one number,
    or one label.

    Args:
        strict: the tags are spelt as asked, the object is JSON with a key for each thing asked,
            and the answer can be read.
    """
    if prompt.answer == "text":
        return float(bool(text.strip()))
    think = r"\s*<think>(?P<think>.+?)</think>" if prompt.reasons else ""
    flags = re.DOTALL if strict else re.DOTALL | re.IGNORECASE
    found = re.fullmatch(rf"{think}\s*<answer>(?P<answer>.+?)</answer>\s*", text, flags)
    if found is None or any("<" in part and _TAG.search(part) for part in found.groups()):
        return 0.0
    if prompt.reasons and not found["think"].strip():
        return 0.0
    content = found["answer"].strip()
    if prompt.answer == "json":
        right = _OBJECT.fullmatch(content) is not None
        if strict and right:
            try:
                right = set(json.loads(content)) == _KEYS[prompt.task]
            except (ValueError, RecursionError):
                right = False
    elif prompt.answer == "number":
        right = NUMBER.fullmatch(content) is not None
    else:
        right = _LABEL.fullmatch(content.strip("\"'.")) is not None
    return float(right and not (strict and isinstance(parse(text, prompt), Failure)))


def compose(
    prompt: Prompt,
    *,
    reasoning: str = "",
    score: float | None = None,
    distortion: str = "",
    severity: int = 0,
    choice: str = "",
) -> str:
    """The completion that a perfect teacher would write: `parse` reads it back.

    Args:
        reasoning: goes between the think tags, where the prompt asks for reasoning.
        score: on the prompt's scale, written with two decimals.
        distortion, severity: a class or `null`, and 0–5.
        choice: `A`, `B` or `similar`.

    Raises:
        InputError: what the prompt asks for was not given.
    """
    if prompt.task == "description":
        answer = reasoning.strip()
    elif prompt.task == "score":
        answer = "" if score is None else f"{score:.2f}"
        if answer and prompt.answer == "json":
            answer = json.dumps({"rating": float(answer)})
    elif prompt.task == "degradation":
        named = {"distortion_class": distortion, "severity": SEVERITY_NAMES[severity]}
        if distortion == "null":
            named["severity"] = "null"
        answer = json.dumps(named) if distortion else ""
    else:
        answer = {"A": "Image A", "B": "Image B", "similar": "Similar"}.get(choice, "")
    if not answer or (prompt.reasons and not reasoning.strip()):
        raise InputError(f"there is nothing to answer {prompt.name!r} with.")
    if prompt.answer == "text":
        return answer
    thought = f"<think>{reasoning.strip()}</think>" if prompt.reasons else ""
    return f"{thought}<answer>{answer}</answer>"


_TAG = re.compile(r"<\s*/?\s*(?:think|answer)\s*>", re.IGNORECASE)
_KEYS = {"score": {"rating"}, "degradation": {"distortion_class", "severity"}}


def _content(text: str, prompt: Prompt) -> str:
    blocks = ANSWER.findall(text)
    if blocks:
        return blocks[-1].strip()
    rest = THINK.sub("", text)
    if prompt.answer == "json" and _OBJECT.search(rest):
        return rest
    raise _UnreadableError("there is no closed <answer>")


def _values(content: str, names: tuple[str, ...]) -> list[str]:
    """What the object in `content` (or the bare pairs) holds under a key of one of the names."""
    objects = _OBJECT.findall(content)
    if not objects and ("{" in content or "}" in content):
        raise _UnreadableError("the object in the answer is not closed")
    values = []
    for pair in _PAIR.finditer("\n".join(objects) if objects else content):
        key = pair["key"].lower().replace("_", " ").replace("-", " ")
        key = re.sub(r"^(?:the|my) | is$", "", key)
        if key in names:
            values.append(pair["value"].strip().strip("\"'").strip())
    if len(set(values)) > 1:
        raise _UnreadableError(f"the answer gives {names[0]} more than once")
    return values[:1]


def _score(content: str, prompt: Prompt) -> float:
    values = _values(content, _RATING)
    if not values and ("{" in content or _PAIR.search(content)):
        raise _UnreadableError("the answer has no rating")
    text = values[0] if values else content
    numbers = list(NUMBER.finditer(text))
    rest = NUMBER.sub(" ", text)
    doubtful = _DOUBT.search(rest) or re.search(r"[/:]|\b(?:out\s+of|between|from)\b", rest, re.I)
    if len(numbers) != 1 or doubtful or any(character.isnumeric() for character in rest):
        raise _UnreadableError("the answer holds no number that stands alone")
    value = float(numbers[0]["value"])
    most = numbers[0]["most"]
    if not prompt.low <= value <= prompt.high or (most and float(most) != prompt.high):
        raise _UnreadableError(
            f"{numbers[0][0]!r} is not on the scale from {prompt.low:g} to {prompt.high:g}"
        )
    return value


def _degradation(content: str) -> tuple[str, int | None]:
    named = _values(content, _CLASS)
    if not named:
        raise _UnreadableError("the answer names no class of distortion")
    name = named[0].strip("[]").strip().strip("\"'")
    try:
        distortion = canonical(name)
    except InputError as error:
        raise _UnreadableError(str(error)) from None
    severities = _values(content, _SEVERITY)
    how = severities[0].lower() if severities else ""
    severity = int(how) if re.fullmatch("[0-5]", how) else _SEVERITIES.get(how)
    return distortion, severity


def _comparison(content: str, prompt: Prompt) -> str:
    letter = _LETTER.fullmatch(content)
    if letter:
        choices = {letter["letter"].upper()}
    elif _DOUBT.search(content):
        raise _UnreadableError("the answer is not a plain label")
    else:
        choices = {
            found["letter"].upper() if found["letter"] else "similar"
            for found in _LABEL.finditer(content)
        }
    if len(choices) != 1 or not choices <= set(prompt.choices):
        raise _UnreadableError(f"the answer is not one of {', '.join(prompt.choices)}")
    return choices.pop()


def _description(text: str) -> Description:
    if not text:
        raise _UnreadableError("the text is empty")
    return Description(text)
