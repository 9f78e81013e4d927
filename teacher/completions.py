"""Whole texts of a teacher: read as typed answers, rewarded for their form, and composed.

In: a completion and the prompt that it answers. Out: a typed answer, or a `Failure` and why,
for instance where the text was cut off within the number. `tasks.TASKS` says how each task's answer
is read. `format_reward` (Q-Insight §3.3) is the strict counterpart of the tolerant `parse`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from rali.errors import InputError

from .answers import (
    ANSWER,
    LABEL,
    NUMBER,
    OBJECT,
    THINK,
    Answer,
    Failure,
    UnreadableError,
    reasoning_of,
)
from .prompts import Prompt
from .tasks import TASKS

_TAG = re.compile(r"<\s*/?\s*(?:think|answer)\s*>", re.IGNORECASE)
# What may stand inside the answer tags, by the prompt's form of answer.
_FORMS: dict[str, Callable[[str], re.Match[str] | None]] = {
    "json": OBJECT.fullmatch,
    "number": NUMBER.fullmatch,
    "label": lambda content: LABEL.fullmatch(content.strip("\"'.")),
}


def parse(text: str, prompt: Prompt) -> Answer:
    """What `text` answers to `prompt`.

    The last closed `<answer>` counts. Where there is none, a JSON object may stand bare after the
    reasoning, as its closing brace says that it is complete; a bare number or label may have been
    cut off and is a failure.
    """
    reasoning = reasoning_of(text)
    try:
        return TASKS[prompt.task].read(_content(text, prompt), prompt, reasoning)
    except UnreadableError as error:
        return Failure(str(error), reasoning)


def _content(text: str, prompt: Prompt) -> str:
    """The part of a completion that holds the answer."""
    if prompt.answer == "text":
        return reasoning_of(text) or text.strip()
    blocks = ANSWER.findall(text)
    if blocks:
        return str(blocks[-1]).strip()
    rest = THINK.sub("", text)
    if prompt.answer == "json" and OBJECT.search(rest):
        return rest
    raise UnreadableError("There is no closed <answer>.")


def format_reward(text: str, prompt: Prompt, *, strict: bool = False) -> float:
    """Q-Insight §3.3's format reward: 1 if the completion has the form that was asked for, else 0.

    Reasoning and answer stand in their tags, each once and in this order, with nothing but white
    space around them. Inside `<answer>`: one object without inner braces ("JSON-like"), one number,
    or one label.

    Args:
        strict: the tags are also spelt as asked, the object is JSON with a key for each thing
            asked, and the answer can be read.
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
    right = _FORMS[prompt.answer](content) is not None
    if strict and right and prompt.answer == "json":
        try:
            right = set(json.loads(content)) == TASKS[prompt.task].keys
        except (ValueError, RecursionError):
            right = False
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
    answer = TASKS[prompt.task].write(
        prompt,
        reasoning=reasoning,
        score=score,
        distortion=distortion,
        severity=severity,
        choice=choice,
    )
    if not answer or (prompt.reasons and not reasoning.strip()):
        raise InputError(f"There is nothing to answer {prompt.name!r} with.")
    if prompt.answer == "text":
        return answer
    thought = f"<think>{reasoning.strip()}</think>" if prompt.reasons else ""
    return f"{thought}<answer>{answer}</answer>"
