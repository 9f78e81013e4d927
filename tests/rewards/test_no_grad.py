"""Rewards without gradients: every form of picture, and one model for all who ask for it."""

from __future__ import annotations

import threading
import warnings
from collections import UserList
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rali import Scorer
from rali.errors import InputError, PictureError
from rali.rewards import RaliReward
from rali.rewards.no_grad import rewards_of, shared_reward
from rali.rewards.pictures import pictures_of
from rali.rewards.reward import check_range
from rali.student.student import Student, StudentConfig
from small import as_tensor, photograph, small_encoder


def test_every_form_of_picture_gets_the_same_reward(reward, pictures, expected, tmp_path):
    Image.fromarray(pictures[0]).save(tmp_path / "a.png")
    floats = as_tensor(*pictures)
    forms: list[Any] = [
        pictures,
        pictures.transpose(0, 3, 1, 2),
        torch.from_numpy(pictures),
        floats,
        floats.half().float(),
        list(floats),
        [Image.fromarray(picture) for picture in pictures],
        [np.ascontiguousarray(picture[..., ::-1])[..., ::-1] for picture in pictures],  # of BGR
        [tmp_path / "a.png", *pictures[1:]],
        [{"bytes": (tmp_path / "a.png").read_bytes(), "path": None}, *pictures[1:]],
    ]
    for one in ({"path": tmp_path / "a.png"}, (tmp_path / "a.png").read_bytes()):
        assert rewards_of(reward, one).numpy() == pytest.approx(expected[:1], abs=0.01)
    for form in forms:
        assert rewards_of(reward, form).numpy() == pytest.approx(expected, abs=0.01)
    assert rewards_of(reward, []).shape == (0,)
    centred = RaliReward(input_range=(-1, 1))
    for form in (floats * 2 - 1, pictures):
        assert rewards_of(centred, form).numpy() == pytest.approx(expected, abs=0.01)
    asked = shared_reward(input_range=[-1, 1])  # as YAML has it
    assert rewards_of(asked, floats * 2 - 1).numpy() == pytest.approx(expected, abs=0.01)
    mixed = [pictures[0], photograph(90, 70), pictures[1]]
    assert rewards_of(reward, mixed).numpy() == pytest.approx(Scorer()(mixed), abs=0.005)
    for wrong in (
        np.zeros((2, 2)),
        np.zeros((1, 5, 5, 4), np.uint8),
        torch.zeros(1, 3, 4, 4).long(),
    ):
        with pytest.raises(InputError):
            pictures_of(wrong)
    with pytest.raises(PictureError, match=r"b\.png: There is no such file"):
        rewards_of(reward, [tmp_path / "a.png", tmp_path / "b.png"])


@pytest.mark.parametrize(
    "wanted", [[-1, 1], np.array([-1, 1]), UserList([-1, 1]), torch.tensor([-1, 1])]
)
def test_a_range_of_any_type_of_list_gives_one_reward(wanted):
    """verl gives what OmegaConf holds, whose lists are none of Python's."""
    asked = shared_reward(input_range=wanted, cutoff=np.array(2.0), caution=torch.tensor(0.0))
    assert asked is shared_reward(input_range=(-1, 1), cutoff=2.0, caution=0.0)
    assert (asked.input_range, asked.cutoff) == ((-1, 1), 2)


def test_an_option_of_no_use_is_named():
    with pytest.raises(InputError, match=r"input_range is .*'a': 1.*expected a number"):
        shared_reward(input_range={"a": 1})


def test_another_student_in_the_same_folder_is_loaded(tmp_path):
    encoder = small_encoder()
    config = StudentConfig(encoder.spec, encoder.preprocess.to_dict(), encoder.dim, 8, bases=5)
    found = []
    for scores in ([1.0] * 5, [4.0] * 5):
        student = Student(config, encoder.image)
        student.basis_scores.copy_(torch.tensor(scores))
        student.save_pretrained(tmp_path)
        reward = shared_reward(str(tmp_path))
        assert reward is shared_reward(str(tmp_path))
        found.append(rewards_of(reward, photograph(64, 64)).item())
    assert found == pytest.approx([1.0, 4.0])


@pytest.mark.parametrize("wrong", [(-1, 1), (0, 255)])
def test_a_range_that_is_far_too_wide_is_warned_of(wrong):
    picture = as_tensor(photograph(90, 70))
    low, high = wrong
    with pytest.warns(UserWarning, match=r"Did you mean input_range=\(0, 1\)"):
        check_range(picture, *wrong)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_range(picture * (high - low) + low, *wrong)
        check_range(picture, 0, 1)


def test_threads_that_ask_at_once_share_one_reward():
    """verl calls from a pool: a model for each thread would not fit a GPU."""
    together = threading.Barrier(8)

    def ask(_: int) -> RaliReward:
        together.wait()
        return shared_reward(caution=0.125)

    with ThreadPoolExecutor(8) as pool:
        assert len({id(given) for given in pool.map(ask, range(8))}) == 1
