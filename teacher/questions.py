"""Prompts by name, and questions of your own: in a recipe, or in a YAML file.

In: a prompt's name, a file's name, or settings. Out: the `Prompt`, and how a run notes it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rali.errors import InputError
from rali.pictures.degrade import canonical
from rali.runs.config import from_dict, read_yaml

from .prompts import JUDGES, PROMPTS, AnswerFormat, Prompt, TaskName
from .readings import READINGS


def score_prompt(
    question: str,
    *,
    name: str,
    low: float = 1.0,
    high: float = 5.0,
    meaning: tuple[str, str] = ("very poor quality", "excellent quality"),
) -> Prompt:
    """VisualQuality-R1's prompt with another question and range: aesthetics, age, …

    Args:
        question: a sentence, such as "Rate how old the person in the image is, in years.".
        name: the prompt's name in triplets.
        low, high: the answer's range. meaning: what its two ends stand for.

    Raises:
        InputError: the question or the range is empty.
    """
    if not question.strip() or not low < high:
        raise InputError(
            f"A score prompt needs a question and a range from low to high; given {question!r}, "
            f"{low:g} to {high:g}."
        )
    text = (
        f"<image>{question.strip()} The rating should be a float between {low:g} and {high:g}, "
        f"with {low:g} representing {meaning[0]} and {high:g} representing {meaning[1]}. First "
        "output the thinking process in <think> </think> tags and then output the final answer "
        "with only one score in <answer> </answer> tags."
    )
    default = PROMPTS["visualquality-r1/score"]
    return dataclasses.replace(default, name=name, text=text, low=low, high=high)


@dataclass
class Question:
    """A question of your own: for a score, a comparison, a degradation or a description.

    With `choices` it is for a comparison, with `classes` for a degradation, and with the answer
    "text" for a description; otherwise for a score.

    Attributes:
        name: the prompt's name; of a YAML file by default the file's, without its ending.
        question: for a score, a sentence, put into VisualQuality-R1's words; see `score_prompt`.
        text: the whole user's turn, verbatim, in place of `question` and `meaning`: with `<image>`
            where the picture goes, or for a comparison with `<image_a>` and `<image_b>`.
        system: with `text`, the system's turn; empty for the model's own.
        answer: with `text`, what is inside the answer tags: "number" or "json" for a score, "json"
            for a degradation, "label" for a comparison; or how the answer is found instead, as for
            `answered`. Empty takes the first of these. "text": a description, without tags.
        choices: for a comparison, its answers: A, B and maybe similar, of which a completion writes
            "Image A", "Image B" or "Similar".
        classes: for a degradation, the classes that it asks for beside null, of
            `rali.pictures.degrade.DISTORTIONS` or synonyms. A completion writes an object with
            "distortion_class" and "severity" (slight, moderate, obvious, serious, catastrophic).
        reasons: with `text`, whether the completion opens with `<think>…</think>`.
        low, high: for a score, its range. meaning: what the two ends stand for.
    """

    name: str = ""
    question: str = ""
    text: str = ""
    system: str = ""
    answer: str = ""
    choices: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    reasons: bool = True
    low: float = 1.0
    high: float = 5.0
    meaning: list[str] = field(default_factory=lambda: ["very poor quality", "excellent quality"])


_KINDS: dict[TaskName, tuple[AnswerFormat, ...]] = {
    "score": ("number", "json"),
    "degradation": ("json",),
    "comparison": ("label",),
    "description": ("text",),
}


def _verbatim(given: Question) -> Prompt:
    """The prompt of a question that spells its whole text."""
    task: TaskName = "score"
    if given.choices or given.classes:
        task = "comparison" if given.choices else "degradation"
    elif given.answer == "text":
        task = "description"
    kinds = _KINDS[task]
    kind = next((kind for kind in kinds if kind == given.answer), kinds[0])
    if given.question or not given.low < given.high:
        raise InputError(f"{given.name}: give a text or a question, and a range from low to high.")
    if given.choices and not {"A", "B"} <= set(given.choices) <= {"A", "B", "similar"}:
        raise InputError(f"{given.name}: choices are {given.choices}; give A, B and maybe similar.")
    classes = tuple(name for name in map(canonical, given.classes) if name != "null")
    if given.classes and (given.choices or not classes):
        raise InputError(
            f"{given.name}: give choices for a comparison, or classes beside null for a "
            "degradation."
        )
    prompt = Prompt(
        given.name, task, given.text.strip(), kind, system=given.system.strip(),
        reasons=given.reasons and kind != "text", low=given.low, high=given.high,
        choices=tuple(given.choices), classes=classes,
    )  # fmt: skip
    if given.answer not in ("", kind):
        prompt = answered(prompt, given.answer, kinds)
    wanted = ["image_a", "image_b"] if given.choices else ["image"]
    optional = ["reference"] * (prompt.images.count("reference") == 1 and bool(given.choices))
    if sorted(prompt.images) != wanted + optional:
        shown, tags = ", ".join(prompt.images), " and ".join(f"<{name}>" for name in wanted)
        raise InputError(f"{given.name}: text shows {shown or 'no picture'}; write {tags} once.")
    return prompt


def answered(prompt: Prompt, answer: str, kinds: Sequence[str] = ("paper",)) -> Prompt:
    """The prompt with another way to find the answer in a completion.

    Args:
        answer: a name in `readings.READINGS`, the authors' code; or a regular expression whose one
            group is the answer, as in `Score: ([0-9.]+)`: the last of its matches after the
            reasoning counts.
        kinds: what else would have been an answer, for the error.

    Raises:
        InputError: it is neither, or that code reads no answers to such a question.
    """
    if answer in READINGS:
        if prompt.task not in READINGS[answer].patterns:
            raise InputError(
                f"{prompt.name}: answer is {answer!r}, whose code reads no {prompt.task}; it reads "
                f"{', '.join(READINGS[answer].patterns)}."
            )
        return dataclasses.replace(prompt, reading=answer, pattern="")
    try:
        one = re.compile(answer).groups == 1
    except re.error:
        one = False
    if not one:
        raise InputError(
            f"{prompt.name}: answer is {answer!r}; expected {', '.join((*kinds, *READINGS))}, or a "
            "regular expression with one group."
        )
    return dataclasses.replace(prompt, pattern=answer, reading="")


def spelt_out(prompt: str | Mapping[str, Any]) -> str | dict[str, Any]:
    """A prompt as a run notes it: a name, or every setting of a `Question`.

    So a YAML file, or settings that leave some out, are noted whole, and read back as they were.

    Raises:
        InputError: no such file, or no such settings.
    """
    if isinstance(prompt, str):
        if not prompt.endswith((".yaml", ".yml")):
            return prompt
        given, name = read_yaml(prompt), Path(prompt).stem
    elif isinstance(prompt, Mapping):
        given, name = dict(prompt), "own"
    else:
        raise InputError(f"prompt is {prompt!r}; give a prompt's name, or settings such as `text`.")
    return dataclasses.asdict(from_dict(Question, {"name": name} | given))


def spelling_of(prompt: Prompt) -> str | dict[str, Any]:
    """What `find_prompt` makes this prompt of: its name, or every setting of a `Question`."""
    if (PROMPTS | JUDGES).get(prompt.name) == prompt:
        return prompt.name
    return dataclasses.asdict(
        Question(
            name=prompt.name, text=prompt.text, system=prompt.system, reasons=prompt.reasons,
            answer=prompt.reading or prompt.pattern or prompt.answer, low=prompt.low,
            high=prompt.high, choices=list(prompt.choices), classes=list(prompt.classes),
        )
    )  # fmt: skip


def find_prompt(name: str | Mapping[str, Any]) -> Prompt:
    """The prompt of this name, or the one that a `Question` makes: its settings or a YAML file.

    Raises:
        InputError: there is no such prompt, or the settings make none.
    """
    spelt = spelt_out(name)
    if isinstance(spelt, dict):
        given = from_dict(Question, spelt)
        if len(given.meaning) != 2:
            raise InputError(
                f"{given.name}: meaning is {given.meaning!r}; expected two texts, for low and high."
            )
        if given.text:
            return _verbatim(given)
        if given.choices or given.classes or given.answer or given.system or not given.reasons:
            raise InputError(
                f"{given.name}: system, answer, choices, classes and reasons go with text, not "
                "with a question."
            )
        low, high = given.meaning
        return score_prompt(
            given.question, name=given.name, low=given.low, high=given.high, meaning=(low, high)
        )
    known = PROMPTS | JUDGES
    if spelt not in known:
        raise InputError(
            f"There is no prompt {spelt!r}; there are {', '.join(known)}. To ask a question of "
            "your own, give a .yaml file with `question`, `low`, `high` and `meaning`, or `text`."
        )
    return known[spelt]
