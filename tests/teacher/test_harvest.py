"""Harvest: seeds, retries, resume, unreadable pictures.

The engine here is a script that answers by seed, so every path can be checked by hand. The nano
teacher takes the same paths in test_teacher.py.
"""

from __future__ import annotations

import json

import pytest
from scripted import Script

from rali.data.triplets import read_triplets
from rali.errors import InputError
from rali.teacher.engines import Request, Sampling
from rali.teacher.harvest import RETRY, harvest
from rali.teacher.kept import KeptTexts
from rali.teacher.questions import find_prompt

VQ = find_prompt("visualquality-r1/score")


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


@pytest.mark.parametrize("seeds", [1, 3])
def test_without_chance_a_picture_has_one_text(rows, tmp_path, seeds):
    script, likeliest = Script(lambda request: request.images[0].name == "0.png"), Sampling(0)
    summary = harvest(script, rows, VQ, tmp_path / "t", seeds=seeds, sampling=likeliest)
    assert script.asked == [("0.png", 0), ("1.png", 0), ("2.png", 0)]
    assert (summary.texts, summary.given_up, summary.attempts) == (2, 1, 3)


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


def test_a_stop_loses_no_text_that_an_engine_of_long_batches_had_finished(rows, tmp_path):
    class Workers(Script):
        chunk = 1000

        def stream(self, requests, sampling):
            for place in reversed(range(len(requests))):  # in no order
                if len(self.asked) == most:
                    raise KeyboardInterrupt
                yield place, self.generate([requests[place]], sampling)[0]

    most, first = 5, Workers()
    with pytest.raises(KeyboardInterrupt):
        harvest(first, rows, VQ, tmp_path / "t", seeds=3)
    assert len(first.asked) == 5 and not list((tmp_path / "t").glob("*.parquet"))
    most, again = 100, Workers()
    assert harvest(again, rows, VQ, tmp_path / "t", seeds=3).texts == 9
    assert len(again.asked) == 4 and not {*first.asked} & {*again.asked}
    harvest(Script(), rows, VQ, tmp_path / "whole", seeds=3)
    key = lambda t: (t.image.name, t.seed)  # noqa: E731
    stopped, whole = (sorted(read_triplets(tmp_path / name), key=key) for name in ("t", "whole"))
    assert stopped == whole
    assert {path.suffix for path in (tmp_path / "t").iterdir()} == {".parquet", ".json", ""}


def test_texts_whose_triplets_are_there_are_dropped_after_a_kill(rows, tmp_path, monkeypatch):
    """The kill came between the writing of the triplets and the dropping of their texts."""

    class Workers(Script):
        def stream(self, requests, sampling):
            yield from enumerate(self.generate(requests, sampling))

    def killed(self):
        raise KeyboardInterrupt

    texts = tmp_path / "t" / "texts.jsonl"
    with monkeypatch.context() as patched:
        patched.setattr(KeptTexts, "forget", killed)
        with pytest.raises(KeyboardInterrupt):
            harvest(Workers(), rows, VQ, tmp_path / "t", seeds=2, batch_size=4)
    assert len(texts.read_text().splitlines()) == len(read_triplets(tmp_path / "t")) == 4
    other = {"key": "x", "images": ["elsewhere.png"], "seed": 0, "text": "not of these pictures"}
    with texts.open("a") as file:
        file.write(json.dumps(other) + "\n")
    again = Workers()
    assert harvest(again, rows, VQ, tmp_path / "t", seeds=2, batch_size=4).texts == 6
    assert len(again.asked) == 2 and [*map(json.loads, texts.read_text().splitlines())] == [other]


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


def test_a_described_picture_keeps_the_description_alone(rows, tmp_path):
    """A teacher may keep its habit of tags where none were asked for."""
    harvest(Script(), rows, find_prompt("ract/description"), tmp_path / "t", seeds=1)
    for triplet in read_triplets(tmp_path / "t"):
        assert triplet.reasoning and "<" not in triplet.reasoning
        assert triplet.raw_text.startswith("<think>")
