"""A teacher as a predictor: its scores, its errors, its degradations."""

from __future__ import annotations

import pytest
from scripted import Script

from rali.errors import InputError
from rali.evaluation.evaluate import evaluate
from rali.teacher.predictor import TeacherPredictor
from rali.teacher.requests import Sampling


class Noise(Script):
    """Sees noise in every picture."""

    def generate(self, requests, sampling):
        answer = '{"distortion_class": "noise", "severity": "slight"}'
        return [f"<think>Grainy.</think><answer>{answer}</answer>" for _ in requests]


def test_a_picture_gets_the_mean_of_its_samples_or_an_error(rows, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    script = Script(lambda request: request.images[0].name == "2.png")
    predictor = TeacherPredictor(engine=script, samples=4, batch_size=2)
    found = list(predictor.score_many([*(row.image for row in rows), tmp_path / "text.png"]))
    assert [result.score for result in found] == [2.5, 2.5, None, None]
    assert found[2].error == "None of 4 answers could be parsed."
    assert "text.png" in (found[3].error or "")


def test_evaluate_takes_a_teacher(two):
    evaluation, predictions = evaluate(TeacherPredictor(engine=ByName()), [two[0]])
    assert evaluation.model == "TeacherPredictor" and len(predictions) == 12
    assert evaluation.average["srcc"] == pytest.approx(1)


class ByName(Script):
    """Gives the pictures of `manifest` their own scores."""

    def generate(self, requests, sampling):
        indices = [int(request.images[0].stem.split("-")[1]) for request in requests]
        return [f"<think>x</think><answer>{1 + index % 5}</answer>" for index in indices]


def test_perceiving_gives_class_and_severity_and_none_where_no_answer_is_read(rows):
    pictures = [row.image for row in rows]
    assert list(TeacherPredictor(engine=Noise()).perceive(pictures)) == [("noise", 1)] * 3
    assert list(TeacherPredictor(engine=Script()).perceive(pictures)) == [None] * 3
    pictures[0].write_text("no picture")
    with pytest.raises(InputError, match=r"0\.png has no answer"):
        list(TeacherPredictor(engine=Script()).perceive(pictures))


def test_degradations_are_asked_for_with_the_sampling_that_was_given(rows):
    class Sampled(Noise):
        def generate(self, requests, sampling):
            self.sampling = sampling
            return super().generate(requests, sampling)

    engine, sampling = Sampled(), Sampling(temperature=0.25, max_new_tokens=7)
    known = TeacherPredictor("TianheWu/VisualQuality-R1-7B", engine=engine)
    assert "README" in known.decoding.words() and "README" not in known.perceiving.words()
    predictor = TeacherPredictor(engine=engine, sampling=sampling)
    list(predictor.perceive([row.image for row in rows]))
    assert engine.sampling == sampling
    assert predictor.perceiving.words() == (
        "q-insight/degradation: 1 text a picture, temperature 0.25, top_p 1, top_k off, at most 7 "
        "tokens."
    )


def test_a_prompt_for_something_else_gives_no_scores(rows):
    predictor = TeacherPredictor(engine=Script(), prompt="ract/description")
    with pytest.raises(InputError, match="Scoring needs a prompt for a score"):
        list(predictor.score_many([rows[0].image]))
