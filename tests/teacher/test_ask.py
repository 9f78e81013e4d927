"""Asking a teacher: means of samples, unreadable pictures, comparisons in both orders."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scripted import Script

from rali.errors import InputError
from rali.teacher.answers import Comparison, Degradation
from rali.teacher.ask import agreement, ask, compare_both_ways, comparison_requests, score
from rali.teacher.engines import Request, Sampling
from rali.teacher.prompts import PROMPTS
from rali.teacher.questions import find_prompt

VQ = find_prompt("visualquality-r1/score")


def test_scores_are_means_with_their_spread(rows):
    found = score(Script(), [row.image for row in rows], VQ, samples=4)
    assert [f.score for f in found] == [2.5] * 3
    assert found[0].spread == pytest.approx(np.std([1, 2, 3, 4], ddof=1))
    assert found[0].reasoning in ("seed 1", "seed 2")
    certain = score(Script(), [rows[0].image], VQ, samples=4, sampling=Sampling(0))
    assert (certain[0].samples, certain[0].spread) == (1, None)


def test_failed_samples_do_not_count(rows):
    some = score(Script(lambda r: r.seed > 0), [rows[0].image], VQ, samples=3)[0]
    assert (some.score, some.spread, some.parsed, some.error) == (1.0, None, 1, None)
    without = score(Script(lambda r: True), [rows[0].image], VQ, samples=3)[0]
    assert without.score is None and without.error == "None of 3 answers could be parsed."


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(rows):
    rows[0].image.write_text("no picture")
    engine = Script()
    engine.chunk = 2
    replies = ask(engine, [Request((row.image,), VQ) for row in rows])
    assert replies[0].answer is None and "0.png" in (replies[0].error or "")
    assert replies[1].answer is not None and replies[2].answer is not None


def test_both_orders_are_asked_and_the_second_is_swapped_back(rows):
    class Favours(Script):
        def generate(self, requests, sampling):
            return [
                "<think>x</think><answer>Image A</answer>"  # always the first place
                for _ in requests
            ]

    a, b, reference = (row.image for row in rows)
    found = compare_both_ways(Favours(), [(a, b, None), (b, a, reference)])
    for forward, backward in found:
        assert isinstance(forward.answer, Comparison) and forward.answer.choice == "A"
        assert isinstance(backward.answer, Comparison) and backward.answer.choice == "B"
    assert found[0][1].images == (b, a)
    assert found[1][0].images == (reference, b, a)


def test_a_prompt_of_your_own_compares_and_one_that_does_not_suit_is_refused(rows):
    a, b, reference = (row.image for row in rows)
    released = find_prompt("q-insight/compare-released")
    requests = comparison_requests([(a, b, reference)], released)
    assert [request.images for request in requests] == [(reference, a, b), (reference, b, a)]
    assert all(request.prompt is released for request in requests)
    with pytest.raises(InputError, match="has no reference, but the prompt q-insight/compare-rel"):
        comparison_requests([(a, b, None)], released)
    with pytest.raises(InputError, match="has a reference, which the prompt q-insight/compare doe"):
        comparison_requests([(a, b, reference)], find_prompt("q-insight/compare"))
    with pytest.raises(InputError, match="needs a prompt for a comparison; given 'direct/score'"):
        comparison_requests([(a, b, None)], find_prompt("direct/score"))


def test_degradations_are_typed(rows):
    class Sees(Script):
        def generate(self, requests, sampling):
            return ['<think>x</think><answer>{"distortion_class": "jpeg", "severity": "serious"}'
                    "</answer>" for _ in requests]  # fmt: skip

    replies = ask(Sees(), [Request((rows[0].image,), PROMPTS["q-insight/degradation"])])
    assert replies[0].answer == Degradation("compression", 4, "x")


def test_agreement_needs_something_to_compare(rows):
    found = score(Script(), [row.image for row in rows], VQ, samples=1)
    assert agreement(list(zip(rows, found, strict=True)))["srcc"] is None, "all the same"
    given = [dataclasses.replace(f, score=5.0 - i) for i, f in enumerate(found)]
    values = agreement(list(zip(rows, given, strict=True)))
    assert values["srcc"] == pytest.approx(-1) and values["n"] == 3 and values["parsed"] == 1
    assert agreement([(dataclasses.replace(rows[0], score=None), found[0])])["n"] == 0


@pytest.mark.parametrize(("width", "height"), [(5000, 1), (1, 201), (2020, 10)])
def test_a_picture_too_thin_for_the_processor_is_a_row_with_its_reason(width, height, tmp_path):
    from PIL import Image

    from rali.teacher.engines import load_engine

    for name, size in (("thin", (width, height)), ("good", (200, 1)), ("other", (64, 48))):
        Image.new("RGB", size, (90, 120, 60)).save(tmp_path / f"{name}.png")
    pictures = [tmp_path / f"{name}.png" for name in ("good", "thin", "other")]
    engine = load_engine("transformers", "nano")
    found = score(
        engine,
        pictures,
        find_prompt("direct/score"),
        samples=1,
        sampling=Sampling(temperature=0, max_new_tokens=24),
    )
    assert f"{width} × {height} pixels" in str(found[1].error)
    assert "pixels" not in f"{found[0].error} {found[2].error}"
