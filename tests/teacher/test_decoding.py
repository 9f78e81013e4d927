"""Published teachers are asked as their authors ask them, unless told otherwise."""

from __future__ import annotations

import pytest
from scripted import Script

from rali.errors import InputError
from rali.teacher.decoding import AUTHORS, DEFAULT, decoding_of
from rali.teacher.predictor import TeacherPredictor


@pytest.mark.parametrize("name", AUTHORS)
def test_a_published_teacher_is_known_by_its_name_and_folder(name, tmp_path):
    assert decoding_of(name) == AUTHORS[name] and decoding_of(name).find_prompt()
    own, *rest = name.split("/", 2)[1:]
    cached = tmp_path / f"models--{name.split('/')[0]}--{own}" / "snapshots" / "0a1b"
    for folder in (tmp_path / own, cached):
        (folder / "/".join(rest)).mkdir(parents=True)
        assert decoding_of(str(folder / "/".join(rest))) == AUTHORS[name]


def test_any_other_teacher_has_the_default(tmp_path):
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


def test_a_predictor_asks_as_the_authors_do(rows):
    script = Script()
    predictor = TeacherPredictor("TianheWu/VisualQuality-R1-7B", engine=script)
    assert [found.score for found in predictor.score_many([row.image for row in rows])] == [1.0] * 3
    assert script.asked == [(row.image.name, 0) for row in rows], "one text each"
    assert predictor.prompt.name == "visualquality-r1/released"
