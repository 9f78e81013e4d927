"""Requests, sampling and what identifies a teacher; generation itself is in test_teacher.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from rali.errors import InputError, PictureError
from rali.teacher.engines import Request, Sampling, filled, request_seed
from rali.teacher.models import teacher_mark
from rali.teacher.questions import find_prompt

VQ = find_prompt("visualquality-r1/score")


def test_request_seeds_differ_by_picture_prompt_and_seed(tmp_path):
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    other = find_prompt("q-insight/score")
    requests = [Request((a,), VQ), Request((b,), VQ), Request((a,), VQ, 1), Request((a,), other)]
    assert len({request_seed(request) for request in requests}) == 4
    assert request_seed(Request((Path("/elsewhere/a.png"),), VQ)) == request_seed(requests[0])


def test_an_unreadable_picture_names_itself(tmp_path):
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(PictureError, match=r"x\.png: "):
        filled(Request((tmp_path / "x.png",), VQ))


@pytest.mark.parametrize(
    "values", [{"top_p": 0}, {"top_k": -1}, {"temperature": -1}, {"max_new_tokens": 0}]
)
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


def test_top_k_then_top_p_leave_the_tokens_that_they_say():
    import torch

    from rali.teacher.engines import SeededSampling

    scores = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()

    def kept(**narrow) -> set[int]:
        drawn = [
            SeededSampling([seed], Sampling(**narrow))(torch.zeros(1, 1), scores).argmax().item()
            for seed in range(300)
        ]
        return set(drawn)

    assert kept() == {0, 1, 2, 3} and kept(top_k=9) == {0, 1, 2, 3}
    assert kept(top_k=2) == {0, 1}
    # Of the two that are left, the first has 4/7 of the probability: 0.5 is reached by it alone.
    assert kept(top_k=2, top_p=0.5) == {0}
    assert kept(top_p=0.5) == {0, 1}
