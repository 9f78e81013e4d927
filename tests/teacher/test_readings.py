"""Answers as the authors' code finds them, by name."""

from __future__ import annotations

import random
import re
import time

import pytest

from rali.errors import InputError
from rali.recipes import find_recipe
from rali.runs.config import from_dict, read_yaml
from rali.teacher.answers import Comparison, Degradation, Failure, Score
from rali.teacher.completions import FORMATS, format_reward, parse
from rali.teacher.grpo import GrpoConfig
from rali.teacher.prompts import PROMPTS
from rali.teacher.questions import answered, find_prompt
from rali.teacher.readings import READINGS
from rali.teacher.tasks import TaskConfig

NOISE = '"distortion_class": "noise", "severity": "moderate"'


@pytest.mark.parametrize(
    ("text", "readme", "paper"),
    [
        ("<answer>3.5</answer>", 3.5, 3.5),
        ("<answer>1</answer> no, <answer>I say 2 or 3</answer>", 2, None),
        ("<answer>8/10</answer>", 8, None),
        ("<think>2 people, cut off", 2, None),
        ("<think>x</think><answer>good</answer>", None, None),
        (f"<answer>{'9' * 400}</answer>", None, None),
    ],
)
def test_visualquality_r1_takes_the_first_number_of_the_last_answer(text, readme, paper):
    """Its README makes up a number where there is none; here that is no answer."""
    prompt = PROMPTS["visualquality-r1/released"]
    for asked, value in ((answered(prompt, "visualquality-r1"), readme), (prompt, paper)):
        found = parse(text, asked)
        assert isinstance(found, Failure) if value is None else found == Score(value, "")


@pytest.mark.parametrize(
    ("text", "code", "paper"),
    [
        ('<think>a</think><answer>{"rating": 3.5}</answer>', 3.5, 3.5),
        ('<answer>it is "rating" : 7, not "rating": 2</answer><answer>3</answer>', 7, 3),
        ('<answer>{"rating": 3.5.}</answer>', None, 3.5),
        ('<answer>{"rating": "3.5"}</answer>', None, 3.5),
        ("<answer>3.5</answer>", None, 3.5),
        ('{"rating": 3.5}', None, 3.5),
    ],
)
def test_q_insight_takes_the_first_rating_of_the_first_answer(text, code, paper):
    prompt = PROMPTS["q-insight/score-trained"]
    for asked, value in ((answered(prompt, "q-insight"), code), (prompt, paper)):
        found = parse(text, asked)
        assert isinstance(found, Failure) if value is None else found.value == value


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (f"{{{NOISE}}}", Degradation("noise", 2, "")),
        (NOISE.replace(", ", ',\n "why": "grain", '), Degradation("noise", 2, "")),
        (NOISE.replace("moderate", "medium"), Degradation("noise", None, "")),
        (NOISE.replace("noise", "Noise"), None),
        ('"distortion_class": "null", "severity": "null"', Degradation("null", 0, "")),
        ('"distortion_class": null, "severity": null', None),
    ],
)
def test_q_insight_takes_class_and_severity_word_for_word(content, found):
    prompt = answered(PROMPTS["q-insight/degradation-trained"], "q-insight")
    answer = parse(f"<answer>{content}</answer>", prompt)
    assert isinstance(answer, Failure) if found is None else answer == found


def test_q_insight_takes_a_label_alone():
    prompt = answered(PROMPTS["q-insight/compare-released"], "q-insight")
    assert parse("<answer>\nSimilar\n</answer>", prompt) == Comparison("similar", "")
    assert parse("<think>x</think><answer>Image B</answer>", prompt) == Comparison("B", "x")
    assert isinstance(parse("<answer>Image B is better.</answer>", prompt), Failure)
    two = answered(PROMPTS["q-insight/compare"], "q-insight")
    assert isinstance(parse("<answer>Similar</answer>", two), Failure)


def test_a_recipe_names_a_reading_or_spells_a_pattern():
    for name in ("q-insight", "q-insight-compare", "visualquality-r1-kadid"):
        config = from_dict(GrpoConfig, read_yaml(find_recipe(f"{name}-authors")))
        reading = "q-insight" if "insight" in name else "visualquality-r1"
        assert {task.resolve().reading for task in config.tasks} == {reading}
        paper = from_dict(GrpoConfig, read_yaml(find_recipe(name)))
        assert {task.resolve().reading for task in paper.tasks} == {""}
    own = TaskConfig(answer="Score: ([0-9.]+)").resolve()
    text = "<think>Score: 1</think>Score: 2, Score: 3"
    assert parse(text, own).value == 3, "the last match after the reasoning"
    spelt = find_prompt({"text": "<image> Rate it.", "answer": "visualquality-r1"})
    assert parse("I give it 4 of 5.", spelt) == Score(4, "")
    assert format_reward("<think>a</think><answer>4</answer>", spelt) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"answer": "rali"}, "expected paper, visualquality-r1, q-insight, or a regular expr"),
        ({"answer": "visualquality-r1", "prompt": "q-insight/degradation"}, "reads no degradation"),
    ],
)
def test_what_is_no_way_to_find_an_answer_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        TaskConfig(**settings)


PIECES = (
    "<think>", "</think>", "<answer>", "</answer>", "<answer></answer>", "</think><answer>",
    "\n</think>\n<answer>\n", "\n</answer>\n", "</think> ", "</answer> ", "\n", " ", " \n", "{",
    "}", "{}\n", '"rating"', '"rating": ', '"distortion_class":"x"', '"distortion_class" ', '"',
    '"severity":"', '"severity" ', "1", ".", "Image A",
)  # fmt: skip
# What may stand before a repeated piece.
STARTS = ("", "<think>", "<think>\na\n</think>\n<answer>\n", "<think>\n\n</think>\n<answer>\n{}\n")


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", FORMATS | READINGS)
def test_long_texts_are_read_in_linear_time(name, start):
    prompts = [PROMPTS[f"q-insight/{task}"] for task in ("score", "degradation", "compare")]
    for piece in PIECES:
        text, started = start + piece * (40_000 // len(piece)), time.process_time()
        if name in FORMATS:
            format_reward(text, prompts[0], form=name)
        for prompt in prompts:
            if name in READINGS and prompt.task in READINGS[name].patterns:
                parse(text, answered(prompt, name))
                parse(f"<answer>{text}</answer>", answered(prompt, name))
        assert time.process_time() - started < 0.2, piece  # quadratic: 0.5 s and more


# The patterns as the authors' code spells them, whose time is quadratic.
_SPELT = r"<think>\s*\n.*?\n\s*</think>\s*\n<answer>\s*\n"
SPELT = {
    "visualquality-r1": r"<think>.*?</think>\s*<answer>.*?</answer>",
    "q-insight": _SPELT + r"\{[^{}]*\}\s*\n\s*</answer>\s*",
    "q-insight-compare": _SPELT + r".*?\n\s*</answer>\s*",
}
DEGRADATION = r'"distortion_class"\s*:\s*"([^"]+)".*?"severity"\s*:\s*"([^"]+)"'


def test_linear_patterns_take_what_the_codes_do():
    draw = random.Random(0)
    taken = dict.fromkeys([*SPELT, "degradation"], 0)
    parts = ("<think>", "</think>", "<answer>", "</answer>", "\n", "\n", " ", "{", "}", "a")
    frame = ["<think>", "\n", "a", "\n", "</think>", "\n", "<answer>", "\n", "{", "}", "\n",
             "</answer>"]  # fmt: skip
    words = ('"distortion_class"', '"severity"', ":", '"', '"x"', " ", "\n", "x", '"y"')
    spoken = ['"distortion_class"', ":", '"x"', ",", '"severity"', ":", '"y"']
    for _ in range(20_000):
        text = "".join(_changed(frame, parts, draw))
        for name, spelt in SPELT.items():
            code = re.fullmatch(spelt, text, re.DOTALL)
            ours = re.fullmatch(FORMATS[name], text, re.DOTALL)
            assert bool(ours) == bool(code), (name, text)
            taken[name] += bool(code)
        text = "".join(_changed(spoken, words, draw))
        code = re.search(DEGRADATION, text, re.DOTALL)
        ours = re.search(READINGS["q-insight"].patterns["degradation"], text, re.DOTALL)
        assert (ours and ours.groups()) == (code and code.groups()), text
        taken["degradation"] += bool(code)
    assert min(taken.values()) > 1000, taken


def _changed(frame: list[str], parts: tuple[str, ...], draw: random.Random) -> list[str]:
    """The frame with a few parts put in, replaced or left out."""
    text = frame * draw.choice((1, 1, 2))
    for _ in range(draw.randrange(6)):
        place = draw.randrange(len(text) + 1)
        text[place : place + draw.randrange(2)] = draw.choices(parts, k=draw.randrange(3))
    return text
