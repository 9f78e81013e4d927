"""What a teacher is asked: every prompt of the three papers, and questions of your own.

In: a prompt's name, or a question. Out: chat messages whose `{"type": "image"}` parts stand where
the pictures go. Sources: Q-Insight Table A, VisualQuality-R1 Table 1, RALI/RACT Table A.4. RALI's
Table A.1 compares with a teacher that does not reason, but prints no prompt for it: `direct/score`
is ours. `visualquality-r1/released` and `/fast` are those of its authors' README.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rali.errors import InputError
from rali.pictures.degrade import SEVERITY_NAMES, canonical
from rali.runs.config import from_dict, read_yaml

TaskName = Literal["score", "degradation", "comparison", "description"]
AnswerFormat = Literal["json", "number", "label", "text"]

_REASON = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves "
    "it. The assistant first thinks about the reasoning process in the mind and then provides the "
    "user with the answer. The reasoning process and answer are enclosed within <think> </think> "
    "and <answer> </answer> tags, respectively, i.e., <think> reasoning process here </think>"
    "<answer> answer here </answer>."
)
_RELEASED = (  # the question of VisualQuality-R1's README, another than its paper's
    "What is your overall rating on the quality of this picture? The rating should be a float "
    "between 1 and 5, rounded to two decimal places, with 1 representing very poor quality and 5 "
    "representing excellent quality."
)
_IMAGE = re.compile(r"<(image|image_a|image_b|reference)>")


@dataclass(frozen=True)
class Prompt:
    """One question, and what an answer to it looks like.

    Attributes:
        name: its name in triplets and configs.
        task: what is asked for; an entry of `tasks.TASKS`.
        text: the user's turn. `<image>`, `<image_a>`, `<image_b>` and `<reference>` stand where
            the pictures go.
        answer: what stands inside the answer tags: a JSON object, one number, one label, or
            (`text`) the whole completion, without tags.
        system: the system's turn; empty for the model's own.
        reasons: whether the completion opens with `<think>…</think>`.
        low, high: range of a score, higher is better; a score outside it is a failure.
        choices: for a comparison, the possible answers: `A`, `B`, `similar`.
        classes: for degradation, the possible classes beside `null`.
        pattern: a regular expression whose one group holds the answer, in place of answer tags;
            empty where there are tags.
    """

    name: str
    task: TaskName
    text: str
    answer: AnswerFormat
    system: str = ""
    reasons: bool = True
    low: float = 1.0
    high: float = 5.0
    choices: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    pattern: str = ""

    @property
    def images(self) -> tuple[str, ...]:
        """The pictures that it shows, in order: `image`, `image_a`, `image_b` or `reference`."""
        return tuple(_IMAGE.findall(self.text))

    def messages(self) -> list[dict[str, Any]]:
        """Chat messages; each `{"type": "image"}` part stands for the next of `images`."""
        parts: list[dict[str, str]] = []
        for piece in re.split(r"(<(?:image|image_a|image_b|reference)>)", self.text):
            if _IMAGE.fullmatch(piece):
                parts.append({"type": "image"})
            elif piece:
                parts.append({"type": "text", "text": piece})
        messages: list[dict[str, Any]] = [{"role": "user", "content": parts}]
        if self.system:
            system = {"role": "system", "content": [{"type": "text", "text": self.system}]}
            messages.insert(0, system)
        return messages


def _quoted(words: tuple[str, ...]) -> str:
    """`"a", "b", or "c"`."""
    *rest, last = [f'"{word}"' for word in words]
    return f"{', '.join(rest)}, or {last}" if rest else last


def degradation_prompt(classes: tuple[str, ...] = ("noise", "compression", "blur", "darken")):
    """Q-Insight's degradation question (Table A) for other classes than its four.

    Raises:
        InputError: no class, or one that `rali.pictures.degrade` does not know.
    """
    names = tuple(name for name in map(canonical, classes) if name != "null")
    if not names:
        raise InputError("A degradation prompt needs at least one class of distortion.")
    default = names == ("noise", "compression", "blur", "darken")
    return Prompt(
        name="q-insight/degradation" + ("" if default else f"-{len(names)}"),
        task="degradation",
        text="<image>Analyze the given image and determine if it contains any of the following "
        f"distortions: {_quoted(names)}. If a distortion is present, classify its severity as "
        f"{_quoted(SEVERITY_NAMES[1:])}. Return the result in JSON format with the following "
        'keys: "distortion_class": The detected distortion (or "null" if none). and "severity": '
        'The severity level (or "null" if none).',
        answer="json",
        system=_REASON,
        classes=names,
    )


PROMPTS: dict[str, Prompt] = {
    prompt.name: prompt
    for prompt in (
        Prompt(
            name="q-insight/score",
            task="score",
            text="<image>What is your overall rating on the quality of this picture? The rating "
            "should be a float between 1 and 5, rounded to two decimal places, with 1 "
            "representing very poor quality and 5 representing excellent quality. Return the "
            'final answer in JSON format with the following keys: "rating": The score.',
            answer="json",
            system=_REASON,
        ),
        degradation_prompt(),
        Prompt(
            name="q-insight/compare",
            task="comparison",
            text="Given Image A: <image_a> and Image B: <image_b>, assess the visual quality of "
            "both the Image A and the Image B, explain and justify which one is better "
            'considering composition and degradation. Your answer should be "Image A" or '
            '"Image B".',
            answer="label",
            system=_REASON,
            choices=("A", "B"),
        ),
        Prompt(
            name="q-insight/compare-reference",
            task="comparison",
            text="Given a low-quality reference image and two enhanced outputs. Reference Image: "
            "<reference>, Image A: <image_a> and Image B: <image_b>. Decide which enhanced image "
            "is superior or if they are comparable. Evaluate based on: 1) fidelity and "
            "consistency with the reference image; 2) overall perceptual quality. Return exactly "
            'one of: "Image A", "Image B", or "Similar".',
            answer="label",
            system=_REASON,
            choices=("A", "B", "similar"),
        ),
        Prompt(
            name="ract/description",
            task="description",
            text="<image>What is your overall assessment of the quality of this picture?",
            answer="text",
            reasons=False,
        ),
        Prompt(
            name="visualquality-r1/score",
            task="score",
            text="<image>You are doing the image quality assessment task. Here is the question: "
            "Rate the overall image visual quality. The rating should be a float between 1 and "
            "5, with 1 representing very poor quality and 5 representing excellent quality. First "
            "output the thinking process in <think> </think> tags and then output the final "
            "answer with only one score in <answer> </answer> tags.",
            answer="number",
        ),
        Prompt(
            name="visualquality-r1/released",
            task="score",
            text="<image>You are doing the image quality assessment task. Here is the question: "
            f"{_RELEASED} First output the thinking process in <think> </think> tags and then "
            "output the final answer with only one score in <answer> </answer> tags.",
            answer="number",
        ),
        Prompt(
            name="visualquality-r1/fast",
            task="score",
            text="<image>You are doing the image quality assessment task. Here is the question: "
            f"{_RELEASED} Output the final answer with only one score in <answer> </answer> tags.",
            answer="number",
            reasons=False,
        ),
        Prompt(
            name="direct/score",
            task="score",
            text="<image>Rate the overall image visual quality. The rating should be a float "
            "between 1 and 5, with 1 representing very poor quality and 5 representing excellent "
            "quality. Do not explain: output only the score, in <answer> </answer> tags.",
            answer="number",
            reasons=False,
        ),
    )
}


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
    """A question of your own, for a score or a comparison; see `score_prompt`.

    Attributes:
        name: the prompt's name; of a YAML file by default the file's, without its ending.
        question: for a score, a sentence, put into VisualQuality-R1's words.
        text: the whole user's turn, verbatim, in place of `question` and `meaning`: with `<image>`
            where the picture goes, or for a comparison with `<image_a>` and `<image_b>`.
        system: with `text`, the system's turn; empty for the model's own.
        answer: with `text`, what is inside the answer tags: "number", "json" or for a comparison
            "label"; or a regular expression whose one group is the answer, as in
            `Score: ([0-9.]+)`. Empty for a number or a label.
        choices: for a comparison, its answers: A, B and maybe similar, of which a completion writes
            "Image A", "Image B" or "Similar".
        reasons: with `text`, whether the completion opens with `<think>…</think>`.
        low, high: for a score, its range. meaning: what the two ends stand for.
    """

    name: str = ""
    question: str = ""
    text: str = ""
    system: str = ""
    answer: str = ""
    choices: list[str] = field(default_factory=list)
    reasons: bool = True
    low: float = 1.0
    high: float = 5.0
    meaning: list[str] = field(default_factory=lambda: ["very poor quality", "excellent quality"])


def _verbatim(given: Question) -> Prompt:
    """The prompt of a question that spells its whole text."""
    kinds: tuple[AnswerFormat, ...] = ("label",) if given.choices else ("number", "json")
    kind = next((kind for kind in kinds if kind == given.answer), kinds[0])
    pattern = "" if given.answer in ("", kind) else given.answer
    if given.question or not given.low < given.high:
        raise InputError(f"{given.name}: give a text or a question, and a range from low to high.")
    try:
        one = not pattern or re.compile(pattern).groups == 1
    except re.error:
        one = False
    if not one:
        raise InputError(
            f"{given.name}: answer is {pattern!r}; expected {' or '.join(kinds)}, or a regular "
            "expression with one group."
        )
    if given.choices and not {"A", "B"} <= set(given.choices) <= {"A", "B", "similar"}:
        raise InputError(f"{given.name}: choices are {given.choices}; give A, B and maybe similar.")
    prompt = Prompt(
        given.name, "comparison" if given.choices else "score", given.text.strip(), kind,
        system=given.system.strip(), reasons=given.reasons, low=given.low, high=given.high,
        choices=tuple(given.choices), pattern=pattern,
    )  # fmt: skip
    wanted = ["image_a", "image_b"] if given.choices else ["image"]
    optional = ["reference"] * (prompt.images.count("reference") == 1 and bool(given.choices))
    if sorted(prompt.images) != wanted + optional:
        shown, tags = ", ".join(prompt.images), " and ".join(f"<{name}>" for name in wanted)
        raise InputError(f"{given.name}: text shows {shown or 'no picture'}; write {tags} once.")
    return prompt


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
        if given.choices or given.answer or given.system or not given.reasons:
            raise InputError(
                f"{given.name}: system, answer, choices and reasons go with text, not with a "
                "question."
            )
        low, high = given.meaning
        return score_prompt(
            given.question, name=given.name, low=given.low, high=given.high, meaning=(low, high)
        )
    if spelt not in PROMPTS:
        raise InputError(
            f"There is no prompt {spelt!r}; there are {', '.join(PROMPTS)}. To ask a question of "
            "your own, give a .yaml file with `question`, `low`, `high` and `meaning`."
        )
    return PROMPTS[spelt]
