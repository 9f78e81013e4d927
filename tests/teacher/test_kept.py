"""Texts of a teacher that are kept: none is asked for twice, none is taken for another's."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image
from scripted import Script, held, manifest
from typer.testing import CliRunner

from rali.cli import app
from rali.errors import InputError
from rali.evaluation.evaluate import evaluate
from rali.teacher.ask import ask
from rali.teacher.harvest import harvest
from rali.teacher.kept import KeptTexts
from rali.teacher.predictor import TeacherPredictor
from rali.teacher.questions import find_prompt
from rali.teacher.requests import NoText, Request, Sampling


def test_a_stopped_evaluation_asks_only_for_what_is_missing(rows, tmp_path):
    class Dying(Script):
        chunk = 2

        def generate(self, requests, sampling):
            if len(self.asked) >= 4:
                raise KeyboardInterrupt
            return super().generate(requests, sampling)

    pictures, texts = [row.image for row in rows], tmp_path / "texts.jsonl"
    with pytest.raises(KeyboardInterrupt):
        list(TeacherPredictor(engine=Dying(), samples=2, texts=texts).score_many(pictures))
    again = Script()
    found = list(TeacherPredictor(engine=again, samples=2, texts=texts).score_many(pictures))
    assert [result.score for result in found] == [1.5, 1.5, 1.5]
    assert again.asked == [("2.png", 0), ("2.png", 1)]
    row = json.loads(texts.read_text().splitlines()[0])
    assert row["seed"] == 0 and "<answer>1</answer>" in row["text"]


def test_an_answer_that_cannot_be_used_loses_none_of_the_others(tmp_path):
    two = manifest(tmp_path, "one", 4)
    texts = tmp_path / "new" / "texts.jsonl"
    script = Script(lambda request: request.images[0].stem == "one-2")
    with pytest.raises(InputError, match="1 of 4 pictures have no score"):
        evaluate(TeacherPredictor(engine=script, samples=1, texts=texts), [two])

    class Once(Script):
        def generate(self, requests, sampling):
            assert requests, "an engine is not asked for nothing"
            return super().generate(requests, sampling)

    again = Once()
    evaluate_again = TeacherPredictor(engine=again, samples=1, texts=texts)
    with pytest.raises(InputError, match="1 of 4 pictures have no score"):
        evaluate(evaluate_again, [two])
    assert again.asked == []


@pytest.mark.parametrize("what", ["weights", "pixels", "sampling", "seed", "picture", "prompt"])
def test_anything_else_is_drawn(rows, tmp_path, what):
    engine, sampling = Script(), Sampling()
    request = Request((rows[0].image,), find_prompt("visualquality-r1/score"))
    KeptTexts(engine, tmp_path / "texts.jsonl").generate([request], sampling)
    if what == "weights":
        engine.mark = "script 2"
    elif what == "pixels":
        engine.pixels = (1, 400)
    elif what == "sampling":
        sampling = Sampling(temperature=0.5)
    elif what == "seed":
        request = dataclasses.replace(request, seed=1)
    elif what == "picture":
        Image.new("RGB", (8, 8), "red").save(rows[0].image)
    else:
        request = dataclasses.replace(request, prompt=find_prompt("direct/score"))
    KeptTexts(engine, tmp_path / "texts.jsonl").generate([request], sampling)
    assert len(engine.asked) == 2


def test_two_processes_do_not_pay_for_the_same_texts(tmp_path):
    with held(tmp_path), pytest.raises(InputError, match="Another process is at work in"):
        TeacherPredictor(engine=Script(), texts=tmp_path / "texts.jsonl")
    TeacherPredictor(engine=Script(), texts=tmp_path / "texts.jsonl")


def test_what_failed_is_asked_again(rows, tmp_path):
    class Flaky(Script):
        def generate(self, requests, sampling):
            super().generate(requests, sampling)
            return [NoText("The server is busy.")] * len(requests)

    flaky, request = Flaky(), Request((rows[0].image,), find_prompt("direct/score"))
    for _ in range(2):
        KeptTexts(flaky, tmp_path / "texts.jsonl").generate([request], Sampling())
    assert len(flaky.asked) == 2 and not (tmp_path / "texts.jsonl").exists()


@pytest.mark.parametrize(
    ("places", "told"),
    [
        ([1], "no text for 2 of 3 requests, such as request 0"),
        ([1, 0, 1, 2], "request 1 of 3 twice"),
        ([1, 3], "request 3 of 3 twice, or for none"),
    ],
)
def test_an_engine_that_loses_a_request_is_told_and_the_others_are_kept(
    rows, tmp_path, places, told
):
    """A text that never came must not count as one that could not be parsed."""

    class Losing(Script):
        chunk = 1000

        def stream(self, requests, sampling):
            for place in places:
                yield place, "<think>x</think><answer>2</answer>"

    prompt = find_prompt("visualquality-r1/score")
    with pytest.raises(InputError, match=told):
        harvest(Losing(), rows, prompt, tmp_path / "t", seeds=1)
    assert not list((tmp_path / "t").glob("*.parquet"))
    kept = [json.loads(line) for line in (tmp_path / "t" / "texts.jsonl").read_text().splitlines()]
    assert Path(kept[0]["images"][0]).name == "1.png"


@pytest.mark.parametrize("count", [0, 2, 4])
def test_an_engine_that_returns_another_number_of_texts_is_told(rows, count):
    class Miscounting(Script):
        def generate(self, requests, sampling):
            return ["<think>x</think><answer>2</answer>"] * count

    requests = [Request((row.image,), find_prompt("visualquality-r1/score")) for row in rows]
    with pytest.raises(InputError, match="script returned"):
        ask(Miscounting(), requests)


@pytest.mark.slow
def test_rali_evaluate_resumes_a_teacher(tmp_path):
    csv = manifest(tmp_path, "one", 4)
    words = ["evaluate", "teacher:nano", csv, "-o", str(tmp_path / "e"), "--samples", "2",
             "--max-tokens", "150", "--unscored", "3"]  # fmt: skip
    first = CliRunner().invoke(app, words)
    kept = (tmp_path / "e" / "texts.jsonl").read_text()
    assert first.exit_code == 0 and len(kept.splitlines()) == 8
    second = CliRunner().invoke(app, words)
    assert second.exit_code == 0 and (tmp_path / "e" / "texts.jsonl").read_text() == kept
