"""What a teacher is asked: every prompt of the three papers, by name.

Out: chat messages whose `{"type": "image"}` parts stand where
the pictures go. Sources: Q-Insight Table A, VisualQuality-R1 Table 1, RALI/RACT Table A.4. RALI's
Table A.1 compares with a teacher that does not reason, but prints no prompt for it: `direct/score`
is ours. `visualquality-r1/released` and `/fast` are those of its authors' README,
`q-insight/released`, `/degradation-released` and `/compare-released` those of theirs
(`demo_score.py`, `demo_dist.py`, `demo_comparison.py`), `q-insight/score-trained` and
`/degradation-trained` those of their training (`qinsight_multi_task.py`): Table A's without the
system turn's last full stop. `q-realign/score` is for a judge that writes nothing: its score is
read off the probabilities of five words (`levels`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rali.errors import InputError
from rali.pictures.degrade import SEVERITY_NAMES, canonical

TaskName = Literal["score", "degradation", "comparison", "description"]
AnswerFormat = Literal["json", "number", "label", "text", "levels"]

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
# "Picture 1: " is what Qwen2.5-VL's chat template writes with `add_vision_id=True`, as all examples
# of that README pass it. As words it is the same text for every engine, and for a training.
_README = (
    "Picture 1: <image>You are doing the image quality assessment task. Here is the question: "
    f"{_RELEASED}"
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
            (`text`) the whole completion, without tags. `levels`: nothing is written; the score is
            read off the probabilities of `levels` as the next word.
        system: the system's turn; empty for the model's own.
        reasons: whether the completion opens with `<think>…</think>`.
        low, high: range of a score, higher is better; a score outside it is a failure.
        choices: for a comparison, the possible answers: `A`, `B`, `similar`.
        classes: for degradation, the possible classes beside `null`.
        pattern: a regular expression whose one group holds the answer, in place of answer tags;
            empty where there are tags. reading: in place of both, the authors' code that says how
            the answer is found, a name in `readings.READINGS`.
        levels: for `levels`, the words from the best to the worst. stem: the words of the
            assistant's turn that they follow.
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
    reading: str = ""
    levels: tuple[str, ...] = ()
    stem: str = ""

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


_DEGRADATION = Prompt(
    name="q-insight/degradation",
    task="degradation",
    text="<image>Analyze the given image and determine if it contains any of the following "
    'distortions: "noise", "compression", "blur", or "darken". If a distortion is present, '
    f"classify its severity as {_quoted(SEVERITY_NAMES[1:])}. Return the result in JSON format "
    'with the following keys: "distortion_class": The detected distortion (or "null" if none). '
    'and "severity": The severity level (or "null" if none).',
    answer="json",
    system=_REASON,
    classes=("noise", "compression", "blur", "darken"),
)


def with_classes(prompt: Prompt, classes: Sequence[str]) -> Prompt:
    """A question about degradations for other classes, otherwise in its own words.

    Raises:
        InputError: the question does not list its classes, or there is no class, or one that
            `rali.pictures.degrade` does not know.
    """
    names = tuple(name for name in map(canonical, classes) if name != "null")
    if not names:
        raise InputError("A degradation prompt needs at least one class of distortion.")
    if names == prompt.classes:
        return prompt
    listed = _quoted(prompt.classes) if prompt.classes else ""
    if not listed or listed not in prompt.text:
        raise InputError(
            f"classes: {prompt.name} does not list its classes"
            + (f" as {listed}, so that no others can be put there." if listed else ".")
            + " Give q-insight/degradation, or a question of your own with `classes`."
        )
    text = prompt.text.replace(listed, _quoted(names))
    return replace(prompt, name=f"{prompt.name}-{len(names)}", text=text, classes=names)


def degradation_prompt(classes: Sequence[str] = _DEGRADATION.classes) -> Prompt:
    """Q-Insight's degradation question (Table A) for other classes than its four.

    Raises:
        InputError: no class, or one that `rali.pictures.degrade` does not know.
    """
    return with_classes(_DEGRADATION, classes)


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
        Prompt(
            name="q-insight/released",
            task="score",
            text=f"{_RELEASED} Return the final answer in JSON format with the following keys: "
            '"rating": The score.<image>',
            answer="json",
            system=_REASON.removesuffix("."),
        ),
        _DEGRADATION,
        replace(
            _DEGRADATION,
            name="q-insight/degradation-released",
            text=f"{_DEGRADATION.text.removeprefix('<image>')}<image>",
            system=_REASON.removesuffix("."),
        ),
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
            name="q-insight/compare-released",
            task="comparison",
            text="Given a low-quality reference image and two enhanced outputs. Reference Image:"
            "<reference>Image A:<image_a>Image B:<image_b>Decide which enhanced image is superior "
            "or if they are comparable. Evaluate based on: 1) fidelity and consistency with the "
            "reference image; 2) overall perceptual quality. Return **exactly one** of: Image A, "
            "Image B, or Similar.",
            answer="label",
            system=_REASON.removesuffix("."),
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
            text=f"{_README} First output the thinking process in <think> </think> tags and then "
            "output the final answer with only one score in <answer> </answer> tags.",
            answer="number",
        ),
        Prompt(
            name="visualquality-r1/fast",
            task="score",
            text=f"{_README} Output the final answer with only one score in <answer> </answer> "
            "tags.",
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
for _asked in ("q-insight/score", "q-insight/degradation"):
    _trained = replace(PROMPTS[_asked], name=f"{_asked}-trained", system=_REASON.removesuffix("."))
    PROMPTS[_trained.name] = _trained
# Prompts whose answer is not written: an engine gives the words' probabilities. See `levels`.
JUDGES: dict[str, Prompt] = {
    prompt.name: prompt
    for prompt in (
        Prompt(
            name="q-realign/score",
            task="score",
            text="<image>How would you rate the quality of this image?",
            answer="levels",
            reasons=False,
            levels=("excellent", "good", "fair", "poor", "bad"),
            stem="The quality of the image is",
        ),
    )
}
