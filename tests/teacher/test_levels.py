"""A judge's score is the expected level under the model's own probabilities of five words."""

from __future__ import annotations

import math

import pytest

from rali.data.manifest import Row
from rali.data.triplets import read_triplets
from rali.errors import InputError
from rali.teacher.answers import Failure
from rali.teacher.ask import score
from rali.teacher.completions import compose, parse
from rali.teacher.engines import TransformersEngine, load_engine
from rali.teacher.harvest import harvest
from rali.teacher.levels import level_ids, levels_text, refuse_levels
from rali.teacher.models import opened
from rali.teacher.prompts import JUDGES, Prompt
from rali.teacher.questions import find_prompt
from rali.teacher.requests import Request
from rali.teacher.tasks import TaskConfig

JUDGE = JUDGES["q-realign/score"]


def test_the_expected_level_by_hand():
    # Half of what lies on the five words on "excellent", half on "fair": (5 + 3) / 2.
    text = levels_text(JUDGE, [math.log(0.2), -99, math.log(0.2), -99, -99])
    assert parse(text, JUDGE).value == pytest.approx(4.0)
    assert parse(levels_text(JUDGE, [-7.0] * 5), JUDGE).value == pytest.approx(3.0)
    for text in ("good", "{}", levels_text(JUDGE, [-math.inf] * 5), '{"excellent": "x"}'):
        assert isinstance(parse(text, JUDGE), Failure)


@pytest.fixture(scope="module")
def nano() -> TransformersEngine:
    loaded = load_engine("transformers", "nano", dtype="float32", batch_size=2)
    assert isinstance(loaded, TransformersEngine)
    return loaded


def test_a_score_is_the_softmax_over_the_words_of_the_models_logits(nano, photograph_files):
    import torch

    files = photograph_files[:3]  # two sizes in a batch: one prompt is padded
    found = score(nano, files, find_prompt("q-realign/score"))
    for path, scored in zip(files, found, strict=True):
        # One picture at a time, without padding, and the words' tokens written out.
        chat = [{"role": "user", "content": [
            {"type": "image"},
            {"type": "text", "text": "How would you rate the quality of this image?"},
        ]}]  # fmt: skip
        text = nano.processor.apply_chat_template(chat, add_generation_prompt=True)
        text += "The quality of the image is"
        inputs = nano.processor(text=[text], images=[opened(path)], return_tensors="pt")
        with torch.inference_mode():
            logits = nano.model(**inputs).logits[0, -1]
        vocabulary = nano.processor.tokenizer.get_vocab()
        words = ["excellent", "good", "fair", "poor", "bad"]
        p = logits[[vocabulary[f"Ġ{word}"] for word in words]].softmax(0)
        assert scored.score == pytest.approx(float(p @ torch.tensor([5.0, 4, 3, 2, 1])), abs=1e-4)
        assert scored.samples == 1 and scored.error is None


def test_a_judge_is_harvested_like_a_teacher(nano, photograph_files, tmp_path):
    rows = [Row(path) for path in photograph_files[:2]]
    summary = harvest(nano, rows, JUDGE, tmp_path / "t", seeds=1)
    triplets = read_triplets(tmp_path / "t")
    assert summary.texts == 2 and all(1 <= t.teacher_score <= 5 for t in triplets)


def test_where_a_judge_cannot_be_asked_it_says_so(tmp_path):
    with pytest.raises(InputError, match="the openai engine does not give"):
        refuse_levels([Request((tmp_path / "a.png",), JUDGE)], "openai")
    with pytest.raises(InputError, match="no completions that could be rewarded"):
        TaskConfig(prompt=JUDGE.name)
    with pytest.raises(InputError, match="not written"):
        compose(JUDGE, score=3.0)

    def tokenizer(text, **_):
        return {"input_ids": [ord(text[1])]}

    twice = Prompt("x", "score", "<image>", "levels", levels=("fair", "fine"))
    with pytest.raises(InputError, match="begins two of them with the same"):
        level_ids(tokenizer, twice)
