"""Whole texts of a teacher: read as typed answers, rewarded for their form, and composed.

In: a completion and the prompt that it answers. Out: a typed answer, or a `Failure` and why,
for instance where the text was cut off within the number. `tasks.TASKS` says how each task's answer
is read. `format_reward` (Q-Insight §3.3) is the strict counterpart of the tolerant `parse`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rali.errors import InputError
from rali.files import from_json

from .answer_text import (
    LABEL,
    MAX_ANSWER,
    NUMBER,
    OBJECT,
    TAG,
    UnreadableError,
    blocks,
    without,
)
from .answers import Answer, Failure, reasoning_of
from .prompts import Prompt
from .readings import read_as_code
from .tasks import TASKS

# What may stand inside the answer tags, by the prompt's form of answer.
_FORMS: dict[str, Callable[[str], re.Match[str] | None]] = {
    "json": OBJECT.fullmatch,
    "number": NUMBER.fullmatch,
    "label": lambda content: LABEL.fullmatch(content.strip("\"'.")),
}


def parse(text: str, prompt: Prompt) -> Answer:
    """What `text` answers to `prompt`.

    The last closed `<answer>`, or the last match of the prompt's own pattern after the reasoning,
    counts. Where there is none, a JSON object may stand bare after the reasoning, as its closing
    brace says that it is complete; a bare number or label may have been cut off and is a failure.
    A prompt with a `reading` is read as that code does.
    """
    reasoning = reasoning_of(text)
    try:
        if prompt.reading:
            return read_as_code(text, prompt, reasoning)
        return TASKS[prompt.task].read(_content(text, prompt), prompt, reasoning)
    except UnreadableError as error:
        return Failure(str(error), reasoning)


def whole(text: str, prompt: Prompt, opening: str) -> str:
    """A completion with what the chat template wrote of it, so that it reads like any other.

    A Thinking model reasons even where the prompt asks for none: then the answer alone is returned.

    Args:
        opening: `<think>` where the template ends with it; see `models.thought_opening`.
    """
    if not opening or prompt.reasons:
        return opening + text
    thought, closed, answer = text.partition("</think>")
    return answer if closed else opening + thought


def beside(opening: str, completion: str, prompt: Prompt) -> str:
    """A completion to learn, so that it goes on where the chat template stops; see `whole`."""
    if not opening:
        return completion
    if prompt.reasons:
        return opening + completion.removeprefix("<think>")
    return f"{opening}\n</think>\n\n{completion}"


def _content(text: str, prompt: Prompt) -> str:
    """The part of a completion that holds the answer."""
    if prompt.answer == "text":
        return _description(text)
    if prompt.answer == "levels":
        return text
    answers = blocks(text, "answer")
    if prompt.pattern:
        matches = re.findall(prompt.pattern, without(text, blocks(text, "think")))
        if not matches:
            raise UnreadableError(f"Nothing matches {prompt.pattern!r}.")
        content = matches[-1].strip()
    elif answers:
        content = answers[-1].content(text)
    else:
        content = without(text, blocks(text, "think")).strip()
        if prompt.answer != "json" or not OBJECT.search(content):
            raise UnreadableError("There is no closed <answer>.")
    if len(content) > MAX_ANSWER:
        raise UnreadableError(
            f"The answer has {len(content):,} characters; at most {MAX_ANSWER:,} are read."
        )
    return content


def _description(text: str) -> str:
    """What is said after the thoughts, which a Thinking model has even where none are asked for.

    Where only an answer in its tags comes after them, the thoughts are the description.
    """
    rest = without(text, blocks(text, "think")).strip()
    if any(tag["name"].lower() == "think" and not tag["end"] for tag in TAG.finditer(rest)):
        raise UnreadableError("The thoughts are not closed.")
    return rest if rest and not blocks(rest, "answer") else reasoning_of(text) or rest


# The form of a whole completion by name, as the authors' code wants it. `paper` and `strict` are
# rules. The code spells them with `.*?` and `\s*\n`; here the same is said so that no text takes
# more than linear time: `(?>…)` is looked for once, as its first place leaves most behind it.
_OPEN = r"<think>[^\S\n]*+\n.*?\n[^\S\n]*+</think>\s*\n<answer>"
FORMATS = {
    "visualquality-r1": r"(?><think>.*?</think>\s*<answer>).*</answer>",
    "q-insight": _OPEN + r"\s*\n\{[^{}]*\}[^\S\n]*+\n\s*</answer>\s*",
    "q-insight-compare": f"(?>{_OPEN}" + r"[^\S\n]*+\n).*\n[^\S\n]*+</answer>\s*",
}


def format_pattern(form: str) -> re.Pattern[str] | None:
    """The pattern that a whole completion has, by name or spelt out; None for the two rules.

    Raises:
        InputError: no such name, nor a regular expression with tags.
    """
    if form in ("paper", "strict"):
        return None
    if form not in FORMATS and "<" not in form:
        raise InputError(
            f"format is {form!r}; there are paper, strict, {', '.join(FORMATS)}, or a regular "
            "expression of a whole completion, tags included."
        )
    try:
        return re.compile(FORMATS.get(form, form), re.DOTALL)
    except re.error as error:
        raise InputError(f"format {form!r} is no regular expression: {error}.") from None


def format_reward(text: str, prompt: Prompt, *, form: str = "paper") -> float:
    """Q-Insight §3.3's format reward: 1 if the completion has the form that was asked for, else 0.

    Reasoning and answer stand in their tags, each once and in this order, with nothing but white
    space around them. Inside `<answer>`: one object without inner braces ("JSON-like"), one number,
    or one label.

    Args:
        form: "paper" is the above; with a pattern of the prompt's own in place of the answer tags,
            it matches once, after the reasoning. "strict": the tags are also spelt as asked, the
            object is JSON with a key for each thing asked, and the answer can be read. Any other is
            the name of one in `FORMATS`, which the whole completion must match, or a regular
            expression, which it must match but for white space around it.
    """
    if pattern := format_pattern(form):
        return float(bool(pattern.fullmatch(text if form in FORMATS else text.strip())))
    if prompt.answer == "text":
        return float(not isinstance(parse(text, prompt), Failure))
    if prompt.pattern:
        return _pattern_reward(text, prompt)
    strict = form == "strict"
    tags = list(TAG.finditer(text))
    asked = [f"<{name}>" for name in ("think", "/think", "answer", "/answer")]
    asked = asked if prompt.reasons else asked[2:]
    if [tag[0] if strict else tag[0].lower() for tag in tags] != asked:
        return 0.0
    starts, ends = [0, *(tag.end() for tag in tags)], [*(tag.start() for tag in tags), len(text)]
    parts = [text[a:b].strip() for a, b in zip(starts, ends, strict=True)]
    if any(parts[::2]) or not all(parts[1::2]):
        return 0.0
    content = parts[-2]
    right = _FORMS[prompt.answer](content) is not None
    if strict and right and prompt.answer == "json":
        try:
            right = set(from_json(content)) == TASKS[prompt.task].keys
        except ValueError:
            right = False
    return float(right and not (strict and isinstance(parse(text, prompt), Failure)))


def _pattern_reward(text: str, prompt: Prompt) -> float:
    thoughts = blocks(text, "think")
    opens = len(thoughts) == 1 and not text[: thoughts[0].start].strip()
    if (not opens or not thoughts[0].content(text)) if prompt.reasons else thoughts:
        return 0.0
    return float(len(re.findall(prompt.pattern, without(text, thoughts))) == 1)


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
        InputError: what the prompt asks for was not given, or its answer is not written.
    """
    if prompt.pattern:
        raise InputError(
            f"{prompt.name!r} has a pattern for its answer, from which no text can be composed; "
            "fine-tune under a prompt with answer tags."
        )
    if prompt.answer == "levels":
        raise InputError(f"The answer to {prompt.name!r} is not written, but read off its levels.")
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
