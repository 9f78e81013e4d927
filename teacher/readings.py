"""How the authors' code reads an answer, by name: data for `answer:` in a recipe or a question.

In: a completion, and a prompt whose `reading` is one of `READINGS`. Out: a typed answer. What the
code takes is taken, a number off the scale too; where VisualQuality-R1's README makes up a number,
there is no answer. Without a `reading`, `completions.parse` finds the answer by rali's own rules.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from rali.pictures.degrade import SEVERITY_NAMES

from .answer_text import UnreadableError
from .answers import Answer, Comparison, Degradation, Score
from .prompts import Prompt, TaskName

_END = "</answer>"
_SEVERITIES = {name: level for level, name in enumerate(("null", *SEVERITY_NAMES[1:]))}
_CHOICES = {"Image A": "A", "Image B": "B", "Similar": "similar"}


@dataclass(frozen=True)
class Reading:
    """Where an answer is looked for, and what.

    Attributes:
        last: whether the last `<answer>…</answer>` counts; otherwise the first.
        bare: whether the whole text is read where there is none.
        patterns: {task: a regular expression}. Its first match counts; a score is its group, or
            all of it.
    """

    last: bool
    bare: bool
    patterns: Mapping[TaskName, str]


READINGS = {
    # Every example in its README.
    "visualquality-r1": Reading(True, True, {"score": r"\d+(?:\.\d+)?"}),
    # `score_reward` in qinsight_multi_task.py and in qinsight_comparison.py.
    "q-insight": Reading(
        False,
        False,
        {
            "score": r'"rating"\s*:\s*([\d\.]+)',
            # `(?>…)` keeps to the first class: behind a later one there is no severity either.
            "degradation": r'\A(?>.*?"distortion_class"\s*:\s*"([^"]+)").*?"severity"\s*:\s*'
            r'"([^"]+)"',
            "comparison": r"\A(?:Image A|Image B|Similar)\Z",
        },
    ),
}


def read_as_code(text: str, prompt: Prompt, reasoning: str) -> Answer:
    """What the code that `prompt.reading` names takes from a text; raises `UnreadableError`."""
    reading = READINGS[prompt.reading]
    closed = text[: text.rfind(_END) + len(_END)]  # without it a search could take long
    found = re.findall(f"<answer>(.*?){_END}", closed, re.DOTALL)
    if not found and not reading.bare:
        raise UnreadableError("There is no closed <answer>.")
    content = (found[-1 if reading.last else 0] if found else text).strip()
    match = re.search(reading.patterns[prompt.task], content, re.DOTALL)
    if match is None:
        raise UnreadableError(f"The code of {prompt.reading} finds no {prompt.task} in the answer.")
    if prompt.task == "score":
        return Score(_number(match[match.lastindex or 0]), reasoning)
    if prompt.task == "comparison":
        choice = _CHOICES[match[0]]
        if choice not in prompt.choices:
            raise UnreadableError(f"The answer is not one of {', '.join(prompt.choices)}.")
        return Comparison(choice, reasoning)
    name, severity = match[1].strip(), match[2].strip()
    if name not in (*prompt.classes, "null"):
        raise UnreadableError(f"{name!r} is none of the classes that were asked for.")
    return Degradation(name, _SEVERITIES.get(severity), reasoning)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UnreadableError(f"{text[:20]!r} is no number.")
    return value
