"""What a teacher writes is read as it stands, or not at all."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rali.teacher.answers import (
    Comparison,
    Degradation,
    Description,
    Failure,
    Score,
    reasoning_of,
)
from rali.teacher.completions import format_reward, parse
from rali.teacher.prompts import PROMPTS, degradation_prompt
from rali.teacher.questions import score_prompt

SCORE = PROMPTS["q-insight/score"]
NUMBER = PROMPTS["visualquality-r1/score"]
CLASSES = PROMPTS["q-insight/degradation"]
COMPARE = PROMPTS["q-insight/compare"]
REFERENCE = PROMPTS["q-insight/compare-reference"]


def completion(answer: str, why: str = "Blurry.") -> str:
    return f"<think>{why}</think><answer>{answer}</answer>"


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ('{"rating": 3.25}', 3.25),
        (' {"rating":"3.25"} ', 3.25),
        ("{'rating': 3.25}", 3.25),
        ("{rating: 3.25,}", 3.25),
        ('{"Rating": 3.25, "comment": "ok"}', 3.25),
        ('{"score": 4}', 4.0),
        ('```json\n{"rating": 2.5}\n```', 2.5),
        ('The answer is {"rating": 2.5}.', 2.5),
        ("The final rating is: 3.5", 3.5),
        ("rating: 3.50", 3.5),  # as in Q-Insight's Fig. A
        ("3.5", 3.5),
        ("+3.5", 3.5),
        ("3.5.", 3.5),
        ("3.5/5", 3.5),
        ("3.5 out of 5", 3.5),
        ('{"rating": "4 / 5.0"}', 4.0),
        ("1", 1.0),
        ("5.00", 5.0),
        ("**4.5**", 4.5),
        ("Rating: **4/5**", 4.0),
        ("I would give it a 4.", 4.0),
        ("I rate this image 2.5 out of 5", 2.5),
        ("The image quality score is 3.", 3.0),
        ("4 (good)", 4.0),
        ("4.5, overall", 4.5),
        ('It is not sharp. {"rating": 2}', 2.0),
        ('{"why": "not \\"sharp\\", rating: 5", "rating": 2}', 2.0),
    ],
)
@pytest.mark.parametrize("prompt", [SCORE, NUMBER])
def test_scores_are_read_in_many_spellings(answer, value, prompt):
    assert parse(completion(answer), prompt) == Score(value, "Blurry.")


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "good",
        "0.99",
        "5.01",
        "-3",
        "42",
        "3,5",  # a decimal comma or two numbers: nobody knows
        '{"rating": 3,5}',
        '{"confidence_score": 4}',
        "4 out of ten",
        "4/ten",
        "less than 3",
        "not 3",
        '{"rating": "3,5"}',
        '{"rating": 3, 5}',
        "3 or 4",
        "3-4",
        "1 to 5: 3",
        "80%",
        "3e0",
        "0x3",
        "3.2.1",
        "v3",
        "3½",
        "3²",
        "٣",
        "nan",
        "Infinity",
        "true",
        "3/10",
        "3/4",
        '{"rating": null}',
        '{"rating": true}',
        '{"rating": [3, 4]}',
        '{"rating": 3, "rating": 4}',
        '{"rating": 3',
        '{"confidence": 3}',
        "{}",
        # denied, doubted or asked
        "I cannot give a 5",
        "I can not give a 5",
        "It can't be a 5",
        "Nobody would give it a 5",
        "hardly a 5",
        "far from 5",
        "5?",
        "Is it a 5",
        "a 5 would be wrong",
        "maybe 4",
        "at most 4",
        'I cannot give {"rating": 5}',
        'The answer is not\n```json\n{"rating": 5}\n```',
        '{"rating": 5} would be wrong',
        '{"rating": "anything but 5"}',
        "If it were sharper, rating: 5",
        # other minus signs, and what they stand beside
        "\u22124",
        "- 4",
        "\u20134",
        "\u20144",
        "\uff0d4",
        "\ufe634",
        "\u20114",
        '{"rating": "\u22124"}',
        "4 \u2212 1",
        "~4",
        "<4",
        "≥4",
        "4+",
        "4-ish",
        # numbers of other things
        "2 flaws found",
        "2 images",
        "Image 2",
        "3 people, sharp",
        "The image has 4 faces",
        "level 3 noise",
        "$4",
        "4°",
        "4 ‰",
        "5 times",
        "No. 3",
        "2 and a half",
        '{"rating": "4 people"}',
        '{"previous": {"rating": 2}, "rating": 4}',
        '{"why": "\\"x\\", score: 5"}',
    ],
)
@pytest.mark.parametrize("prompt", [SCORE, NUMBER])
def test_what_is_no_score_is_a_failure_with_its_reason(answer, prompt):
    found = parse(completion(answer), prompt)
    assert isinstance(found, Failure) and found.reason and found.reasoning == "Blurry."


def test_the_last_closed_answer_counts_and_a_cut_off_one_does_not():
    assert parse(completion("2") + completion("3", "On second thought."), NUMBER).value == 3.0
    assert isinstance(parse("<think>a</think><answer>4", NUMBER), Failure)
    assert isinstance(parse("<think>a</think>4", NUMBER), Failure)
    assert isinstance(parse('<think>a</think><answer>{"rating": 4', SCORE), Failure)
    assert parse('<think>a</think>{"rating": 4.5}', SCORE) == Score(4.5, "a")
    assert isinstance(parse('<think>not {"rating": 2}</think>', SCORE), Failure)


def test_a_prompt_of_ones_own_has_its_own_range():
    age = score_prompt("Rate the age of the person.", name="age", low=0, high=100)
    assert "between 0 and 100" in age.text and age.images == ("image",)
    assert parse(completion("42 out of 100"), age) == Score(42.0, "Blurry.")
    assert isinstance(parse(completion("3/5"), age), Failure)


@pytest.mark.parametrize(
    ("answer", "distortion", "severity"),
    [
        ('{"distortion_class": "noise", "severity": "serious"}', "noise", 4),
        ("{'distortion_class': 'JPEG', 'severity': 'slight'}", "compression", 1),
        ('{"distortion_class": null, "severity": null}', "null", 0),
        ("{distortion_class: null, severity: null}", "null", 0),
        ('{"distortion_class": "none", "severity": "none"}', "null", 0),
        ('{"distortion_class": ["blur"], "severity": "Catastrophic"}', "blur", 5),
        ('{"distortion class": "darken", "severity": "huge"}', "darken", None),
        ('{"distortion_class": "blur"}', "blur", None),
        ("distortion_class: blur\nseverity: moderate", "blur", 2),
    ],
)
def test_degradations_are_read_with_synonyms(answer, distortion, severity):
    assert parse(completion(answer), CLASSES) == Degradation(distortion, severity, "Blurry.")


@pytest.mark.parametrize(
    "answer",
    ["", "blur", '{"distortion_class": "rain"}', '{"severity": "slight"}',
     '{"distortion_class": ["blur", "noise"], "severity": "slight"}'],
)  # fmt: skip
def test_unknown_or_several_classes_are_failures(answer):
    assert isinstance(parse(completion(answer), CLASSES), Failure)


@pytest.mark.parametrize(
    ("answer", "choice"),
    [
        ("Image A", "A"),
        ("image_b.", "B"),
        ("B", "B"),
        ("**Image A**", "A"),
        ("The better one is Image B", "B"),
        ('{"answer": "Image A"}', "A"),
        ("Similar", "similar"),
        ("They are comparable", "similar"),
        ("Image A is better.", "A"),
        ("I prefer image B", "B"),
        ("Final answer: (A)", "A"),
        ("The images are very similar in quality", "similar"),
    ],
)
def test_comparisons_are_read(answer, choice):
    assert parse(completion(answer), REFERENCE) == Comparison(choice, "Blurry.")


@pytest.mark.parametrize(
    "answer",
    ["", "Image C", "Image A is better than Image B", "Image A or B", "not Image A",
     "Image A is worse", "A picture", "It cannot be Image A", "It can't be Image A",
     "Image A loses", "Image A is blurry", "anything but Image A", "Image A?", "≠A", "!A", "A-",
     "Image A fails", "hardly similar", "dissimilar", "Both are bad, Image A too", "~~Image A~~"],
)  # fmt: skip
def test_what_is_no_plain_label_is_a_failure(answer):
    assert isinstance(parse(completion(answer), REFERENCE), Failure)


def test_similar_is_an_answer_only_where_the_prompt_offers_it():
    assert isinstance(parse(completion("Similar"), COMPARE), Failure)


def test_descriptions_are_the_text_or_the_reasoning():
    prompt = PROMPTS["ract/description"]
    assert parse(" A sharp picture. ", prompt) == Description("A sharp picture.")
    assert parse(completion("4"), prompt) == Description("Blurry.")
    assert isinstance(parse(" \n", prompt), Failure)
    # A Thinking model thinks first, though the prompt asks for none.
    thought = "<think>\nIs it? Let me look.\n</think>\n\nThe picture is blurred."
    assert parse(thought, prompt) == Description("The picture is blurred.")
    assert isinstance(parse("<think>\nIs it? Let me", prompt), Failure)
    rewards = [format_reward(text, prompt) for text in (thought, "Clear.", "<think>\nIs it?", " ")]
    assert rewards == [1, 1, 0, 0]


def test_reasoning_is_the_last_closed_thought():
    assert reasoning_of("<think>a</think> <think> b\n</think> <think>c") == "b"
    assert reasoning_of("none") == ""


@pytest.mark.parametrize(
    ("text", "prompt", "loose", "strict"),
    [
        (completion('{"rating": 3}'), SCORE, 1, 1),
        ("\n <think>a\nb</think>\n<answer> {'rating': 3} </answer>\n", SCORE, 1, 0),
        (completion('{"rating": 9}'), SCORE, 1, 0),
        (completion('{"quality": 3}'), SCORE, 1, 0),
        (completion("3"), SCORE, 0, 0),
        (completion('{"rating": {"value": 3}}'), SCORE, 0, 0),
        ("Sure! " + completion('{"rating": 3}'), SCORE, 0, 0),
        (completion('{"rating": 3}') + " Bye.", SCORE, 0, 0),
        (completion('{"rating": 3}') * 2, SCORE, 0, 0),
        ('<answer>{"rating": 3}</answer>', SCORE, 0, 0),
        ('<think> </think><answer>{"rating": 3}</answer>', SCORE, 0, 0),
        ("<think>a<think>b</think><answer>3</answer>", NUMBER, 0, 0),
        (completion("3.5"), NUMBER, 1, 1),
        (completion("about 3.5"), NUMBER, 0, 0),
        (completion("7"), NUMBER, 1, 0),
        (completion('{"distortion_class": null, "severity": null}'), CLASSES, 1, 1),
        (completion('{"distortion_class": null}'), CLASSES, 1, 0),
        (completion("Image A"), COMPARE, 1, 1),
        (completion("Similar"), COMPARE, 1, 0),
        (completion("Image A is better"), COMPARE, 0, 0),
        ("<answer>3.5</answer>", PROMPTS["direct/score"], 1, 1),
        (completion("3.5"), PROMPTS["direct/score"], 0, 0),
    ],
)
def test_the_format_reward_loose_and_strict(text, prompt, loose, strict):
    assert format_reward(text, prompt) == loose
    assert format_reward(text, prompt, form="strict") == strict


def test_every_prompt_shows_its_pictures_in_place():
    for prompt in PROMPTS.values():
        parts = prompt.messages()[-1]["content"]
        assert [part["type"] for part in parts].count("image") == len(prompt.images) >= 1
        assert not any("<image" in part.get("text", "") for part in parts)
    assert REFERENCE.images == ("reference", "image_a", "image_b")
    assert CLASSES.classes == ("noise", "compression", "blur", "darken")
    assert '"pixelate"' in degradation_prompt(("pixelate", "JPEG")).text


TEXTS = st.one_of(
    st.text(max_size=80),
    st.lists(
        st.sampled_from(
            ["<think>", "</think>", "<answer>", "</answer>", "{", "}", '"rating"', "'score'", ":",
             ",", " ", "\n", "3", "4.5", ".", "5", "/", "-", "%", "null", "Image A", "Similar",
             "noise", "distortion_class", "severity", "out of", "½", "not"]
        ),
        max_size=25,
    ).map("".join),
)  # fmt: skip


PIECES = ("word ", "word", "rating ", "a:[", 'a:"', "a:'", "{", "}", "{}", "<", "<think>", "< ",
          "<answer>", "</think>", " ", "\n", ",", ",1", "1 ", "1", ".", "image ", "similar ",
          "is ", "the ", "<think>a</think><answer>b</answer>", "\\", "1 / ", "*", "`")  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_a_repeated_piece_takes_linear_time(piece):
    inside = piece * (4000 // len(piece))
    for text in (completion(inside), completion(inside + ":"), piece * (20_000 // len(piece))):
        started = time.process_time()
        for prompt in PROMPTS.values():
            parse(text, prompt)
            format_reward(text, prompt)
            format_reward(text, prompt, form="strict")
        assert time.process_time() - started < 1.0, len(text)  # quadratic: 4 s and more


def test_an_answer_of_many_characters_is_a_failure_that_says_how_many():
    assert "4,097 characters" in parse(completion("3" + " ." * 2048), NUMBER).reason
    assert parse("word " * 20_000 + completion("3"), NUMBER).value == 3.0


def check_any(text: str) -> None:
    """A typed answer or a typed failure; a score only where the text has that number."""
    for prompt in PROMPTS.values():
        found = parse(text, prompt)
        if isinstance(found, Score):
            assert prompt.low <= found.value <= prompt.high
            assert found.value in {float(n) for n in re.findall(r"[0-9]+(?:\.[0-9]+)?", text)}
        elif isinstance(found, Degradation):
            assert found.severity in {None, 0, 1, 2, 3, 4, 5}
        elif isinstance(found, Comparison):
            assert found.choice in prompt.choices
        else:
            assert isinstance(found, Description) or found.reason
        for form in ("paper", "strict"):
            assert format_reward(text, prompt, form=form) in (0.0, 1.0)


@settings(max_examples=1500, deadline=None)
@given(TEXTS)
def test_any_text_gives_an_answer_or_a_failure(text):
    check_any(text)


@settings(max_examples=500, deadline=None)
@given(TEXTS)
def test_any_answer_gives_an_answer_or_a_failure(text):
    check_any(completion(text))
