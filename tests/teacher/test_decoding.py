"""Published teachers are asked as their authors ask them, unless told otherwise."""

from __future__ import annotations

import pytest
from scripted import Script

from rali.errors import InputError
from rali.teacher.decoding import AUTHORS, DEFAULT, DEFAULTS, decoding_of
from rali.teacher.predictor import TeacherPredictor
from rali.teacher.prompts import with_classes


@pytest.mark.parametrize("name", AUTHORS)
def test_a_published_teacher_is_known_by_its_name_and_folder(name, tmp_path):
    assert AUTHORS[name]
    own, *rest = name.split("/", 2)[1:]
    cached = tmp_path / f"models--{name.split('/')[0]}--{own}" / "snapshots" / "0a1b"
    for folder in (tmp_path / own, cached):
        (folder / "/".join(rest)).mkdir(parents=True)
        for typed in (name, str(folder / "/".join(rest))):
            for task, how in AUTHORS[name].items():
                shown = how.find_prompt().images
                assert decoding_of(typed, task, reference="reference" in shown) == how
                assert how.source in how.words() and how.find_prompt().task == task


@pytest.mark.filterwarnings("ignore:.*it is not known whether")
def test_any_other_teacher_has_the_default(empty_hub, tmp_path):
    trained = tmp_path / "VisualQuality-R1-7B" / "model"
    trained.mkdir(parents=True)
    for name in ("nano", str(trained), "someone/VisualQuality-R1-7B", "ByteDance/Q-Insight"):
        assert decoding_of(name) == DEFAULT


def test_what_is_given_comes_before_the_authors():
    name = "ByteDance/Q-Insight/score_degradation"
    assert "1 text a picture, temperature 1, top_p 0.95, top_k 50" in decoding_of(name).words()
    own = decoding_of(name, samples=3, top_k=0, prompt=None)
    assert (own.samples, own.sampling.top_k, own.sampling.top_p) == (3, 0, 0.95)
    assert "3 texts a picture" in own.words() and "demo_score" not in own.words()
    other = decoding_of(name, prompt="visualquality-r1/score", temperature=0)
    assert other.sampling.max_new_tokens == 512 and "top_k" not in other.words()
    assert "1 text a picture, temperature 0" in decoding_of("nano", temperature=0).words()
    with pytest.raises(InputError, match="top_k -1"):
        decoding_of(name, top_k=-1)


@pytest.mark.parametrize("task", DEFAULTS)
def test_every_task_has_a_default(task):
    how = decoding_of("nano", task)
    assert how.find_prompt().task == task and not how.source
    score = decoding_of("ByteDance/Q-Insight/score_degradation", task)
    assert bool(score.source) == (task in ("score", "degradation"))


def test_q_insight_is_asked_for_degradations_and_comparisons_as_in_its_demos():
    trained = "ByteDance/Q-Insight/score_degradation"
    asked = decoding_of(trained, "degradation")
    assert asked.words() == (
        "q-insight/degradation-released: 1 text a picture, temperature 1, top_p 0.95, top_k 50, at "
        "most 1024 tokens (as in Q-Insight's demo_dist.py)."
    )
    prompt = asked.find_prompt()
    parts = [part["type"] for part in prompt.messages()[1]["content"]]
    assert parts == ["text", "image"] and prompt.system.endswith("answer here </answer>")
    assert prompt.text.startswith("Analyze the given image and determine if it contains any of")
    assert with_classes(prompt, ["blur"]).text.endswith('(or "null" if none).<image>')
    compared = "ByteDance/Q-Insight/comparison"
    assert decoding_of(compared, "comparison", reference=True).words() == (
        "q-insight/compare-released: 1 text for each order of a pair, temperature 1, top_p 0.95, "
        "top_k 50, at most 1024 tokens (as in Q-Insight's demo_comparison.py)."
    )
    assert decoding_of(compared, "comparison").words() == (
        "q-insight/compare: 1 text for each order of a pair, temperature 0, at most 512 tokens."
    ), "its demo shows a reference, and here is none"
    usual = decoding_of("nano", "comparison", reference=True)
    assert usual.prompt == "q-insight/compare-reference"
    own = decoding_of(compared, "comparison", reference=True, temperature=0)
    assert own.prompt == "q-insight/compare-released" and not own.source
    assert "README" not in decoding_of("TianheWu/VisualQuality-R1-7B", "degradation").words()


def test_a_predictor_asks_as_the_authors_do(rows):
    script = Script()
    predictor = TeacherPredictor("TianheWu/VisualQuality-R1-7B", engine=script)
    assert [found.score for found in predictor.score_many([row.image for row in rows])] == [1.0] * 3
    assert script.asked == [(row.image.name, 0) for row in rows], "one text each"
    assert predictor.prompt.name == "visualquality-r1/released"
