"""Harvest and asking: seeds, retries, resume, unreadable pictures, comparisons both ways.

The engine here is a script that answers by seed, so that every path can be hand-checked; the nano
teacher takes the same paths in test_teacher.py.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rali.data.manifest import Row
from rali.data.triplets import read_triplets
from rali.errors import InputError, PictureError
from rali.pictures.read import open_picture
from rali.teacher.answers import Comparison, Degradation
from rali.teacher.ask import agreement, ask, compare_both_ways, score
from rali.teacher.engines import Request, Sampling, request_seed
from rali.teacher.harvest import RETRY, harvest
from rali.teacher.models import teacher_mark
from rali.teacher.prompts import PROMPTS, find_prompt

VQ = find_prompt("visualquality-r1/score")


class Script:
    """Answers with its seed; cannot be parsed where `fails` says so."""

    name = "script"
    mark = "script 1"
    pixels = (1, 10_000)

    def __init__(self, fails=lambda request: False) -> None:
        self.fails = fails
        self.asked: list[tuple[str, int]] = []

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[str]:
        texts = []
        for request in requests:
            for path in request.images:
                open_picture(path)
            self.asked.append((request.images[0].name, request.seed))
            value = 1 + request.seed % 4
            texts.append(
                "no idea"
                if self.fails(request)
                else f"<think>seed {request.seed}</think><answer>{value}</answer>"
            )
        return texts


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    found = []
    for index in range(3):
        path = tmp_path / f"{index}.png"
        Image.fromarray(np.full((9, 9, 3), 60 * index, np.uint8)).save(path)
        found.append(Row(path, score=2.0 + index))
    return found


def test_every_picture_gets_every_seed_once(rows, tmp_path):
    summary = harvest(Script(), rows, VQ, tmp_path / "t", seeds=3, batch_size=2)
    triplets = read_triplets(tmp_path / "t")
    assert {(t.image.name, t.seed) for t in triplets} == {
        (f"{i}.png", seed) for i in range(3) for seed in range(3)
    }
    assert summary.texts == summary.written == summary.attempts == 9
    one = next(t for t in triplets if t.seed == 2 and t.image.name == "1.png")
    assert (one.teacher, one.score, one.teacher_score, one.parse_ok) == ("script", 3.0, 3.0, True)
    assert one.reasoning == "seed 2" and one.prompt == VQ.text


def test_what_is_there_is_not_asked_again_and_more_seeds_are_added(rows, tmp_path):
    harvest(Script(), rows[:2], VQ, tmp_path / "t", seeds=2, batch_size=3)
    again = Script()
    summary = harvest(again, rows, VQ, tmp_path / "t", seeds=3, batch_size=3)
    assert sorted(again.asked) == [("0.png", 2), ("1.png", 2), *(("2.png", s) for s in range(3))]
    assert (summary.written, summary.texts) == (5, 9)


def test_failures_are_kept_and_drawn_again_up_to_the_limit(rows, tmp_path):
    def fails(request: Request) -> bool:
        first = request.images[0].name == "0.png" and request.seed < RETRY  # once
        return first or request.images[0].name == "1.png"  # always

    summary = harvest(Script(fails), rows, VQ, tmp_path / "t", seeds=2, attempts=3, batch_size=4)
    triplets = read_triplets(tmp_path / "t")
    seeds = {name: sorted(t.seed for t in triplets if t.image.name == name) for name in
             ("0.png", "1.png", "2.png")}  # fmt: skip
    assert seeds["0.png"] == [0, 1, RETRY, RETRY + 1]
    assert seeds["1.png"] == [0, 1, RETRY, RETRY + 1, 2 * RETRY, 2 * RETRY + 1]
    assert seeds["2.png"] == [0, 1]
    assert (summary.texts, summary.given_up, summary.failures, summary.attempts) == (4, 2, 8, 12)
    assert summary.failure_rate == pytest.approx(8 / 12)
    resumed = Script(fails)
    again = harvest(resumed, rows, VQ, tmp_path / "t", seeds=2, attempts=3, batch_size=4)
    assert resumed.asked == [] and again.written == 0
    assert again.failure_rate == summary.failure_rate


def test_a_stop_loses_the_batch_in_flight_only(rows, tmp_path):
    class Dying(Script):
        def generate(self, requests, sampling):
            if len(self.asked) >= 4:
                raise KeyboardInterrupt
            return super().generate(requests, sampling)

    with pytest.raises(KeyboardInterrupt):
        harvest(Dying(), rows, VQ, tmp_path / "t", seeds=3, batch_size=2)
    assert len(read_triplets(tmp_path / "t")) == 4
    harvest(Script(), rows, VQ, tmp_path / "t", seeds=3, batch_size=2)
    through = harvest(Script(), rows, VQ, tmp_path / "whole", seeds=3, batch_size=2)
    assert through.texts == 9
    key = lambda t: (t.image.name, t.seed)  # noqa: E731
    stopped, whole = (sorted(read_triplets(tmp_path / name), key=key) for name in ("t", "whole"))
    assert stopped == whole


def test_unreadable_pictures_are_left_out_with_the_reason(rows, tmp_path):
    rows[1].image.write_text("no picture")
    summary = harvest(Script(), rows, VQ, tmp_path / "t", seeds=2, batch_size=4)
    assert summary.texts == 4 and len(summary.unreadable) == 1
    assert "1.png: " in summary.unreadable[0]


def test_a_folder_of_another_teacher_or_prompt_is_refused(rows, tmp_path):
    harvest(Script(), rows, VQ, tmp_path / "t", seeds=1)
    other = Script()
    other.name = "other"
    with pytest.raises(InputError, match="teacher 'script'"):
        harvest(other, rows, VQ, tmp_path / "t", seeds=1)
    retrained = Script()
    retrained.mark = "script 2"
    with pytest.raises(InputError, match="weights 'script 1'"):
        harvest(retrained, rows, VQ, tmp_path / "t", seeds=1)
    with pytest.raises(InputError, match="another prompt"):
        harvest(Script(), rows, find_prompt("q-insight/score"), tmp_path / "t", seeds=1)
    with pytest.raises(InputError, match=r"harvest with temperature 1\.0"):
        harvest(Script(), rows, VQ, tmp_path / "t", seeds=1, sampling=Sampling(0.5))
    summary = json.loads((tmp_path / "t" / "summary.json").read_text())
    assert (summary["texts"], summary["failure_rate"]) == (3, 0)
    (tmp_path / "t" / "harvest.json").unlink()  # triplets of another origin have none
    with pytest.raises(InputError):
        harvest(other, rows, VQ, tmp_path / "t", seeds=1)
    assert not (tmp_path / "t" / "harvest.json").exists(), "a refused harvest leaves no note"
    with pytest.raises(InputError, match="score or a description"):
        harvest(Script(), rows, find_prompt("q-insight/compare"), tmp_path / "u")


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
    none = score(Script(lambda r: True), [rows[0].image], VQ, samples=3)[0]
    assert none.score is None and none.error == "none of 3 answers could be parsed"


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(rows):
    rows[0].image.write_text("no picture")
    told = ask(Script(), [Request((row.image,), VQ) for row in rows], batch_size=2)
    assert told[0].answer is None and "0.png" in (told[0].error or "")
    assert told[1].answer is not None and told[2].answer is not None


def test_both_orders_are_asked_and_turned_round(rows):
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


def test_degradations_are_typed(rows):
    class Sees(Script):
        def generate(self, requests, sampling):
            return ['<think>x</think><answer>{"distortion_class": "jpeg", "severity": "serious"}'
                    "</answer>" for _ in requests]  # fmt: skip

    told = ask(Sees(), [Request((rows[0].image,), PROMPTS["q-insight/degradation"])])
    assert told[0].answer == Degradation("compression", 4, "x")


def test_request_seeds_differ_by_picture_prompt_and_seed(tmp_path):
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    other = find_prompt("q-insight/score")
    requests = [Request((a,), VQ), Request((b,), VQ), Request((a,), VQ, 1), Request((a,), other)]
    assert len({request_seed(request) for request in requests}) == 4
    assert request_seed(Request((Path("/elsewhere/a.png"),), VQ)) == request_seed(requests[0])


def test_an_unreadable_picture_names_itself(tmp_path):
    from rali.teacher.engines import filled

    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(PictureError, match=r"x\.png: "):
        filled(Request((tmp_path / "x.png",), VQ))


def test_agreement_needs_something_to_compare(rows):
    found = score(Script(), [row.image for row in rows], VQ, samples=1)
    assert agreement(list(zip(rows, found, strict=True)))["srcc"] is None, "all the same"
    given = [dataclasses.replace(f, score=5.0 - i) for i, f in enumerate(found)]
    values = agreement(list(zip(rows, given, strict=True)))
    assert values["srcc"] == pytest.approx(-1) and values["n"] == 3 and values["parsed"] == 1
    assert agreement([(dataclasses.replace(rows[0], score=None), found[0])])["n"] == 0


def test_a_described_picture_keeps_the_description_alone(rows, tmp_path):
    """A teacher may keep its habit of tags where none were asked for."""
    harvest(Script(), rows, find_prompt("ract/description"), tmp_path / "t", seeds=1)
    for triplet in read_triplets(tmp_path / "t"):
        assert triplet.reasoning and "<" not in triplet.reasoning
        assert triplet.raw_text.startswith("<think>")


@pytest.mark.parametrize("values", [{"top_p": 0}, {"temperature": -1}, {"max_new_tokens": 0}])
def test_sampling_that_draws_nothing_is_refused(values):
    with pytest.raises(InputError, match="expected 0 or more"):
        Sampling(**values)


def test_the_mark_of_a_teacher_is_of_its_weights(tmp_path):
    for name, content in (("a", b"1" * 100), ("b", b"1" * 100), ("c", b"1" * 99 + b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(content)
    marks = [teacher_mark(str(tmp_path / name)) for name in "abc"]
    assert marks[0] == marks[1] != marks[2]
    assert teacher_mark("nano") == "nano"
