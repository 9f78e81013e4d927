"""A mix of rewards: the sum worked out by hand, what is logged, and what is refused."""

from __future__ import annotations

from collections import UserList

import numpy as np
import pytest
import torch

from rali.errors import InputError
from rali.rewards import mix


def clip_score(images, prompts, metadata=None):
    """As Flow-GRPO's rewards return it."""
    return [0.1, 0.25, 0.4], {}


def size(images, prompts, metadata=None):
    return torch.tensor([2.0, 4.0, 6.0])


def test_the_sum_by_hand():
    mixed = mix({clip_score: 0.5, size: -0.1}, ranges={"clip_score": (0.1, 0.3)})
    rewards, parts = mixed([None] * 3, ["a"] * 3, [{}] * 3)
    # 0.5 · (0.1 − 0.1) / 0.2 − 0.1 · 2;  0.5 · 0.75 − 0.4;  0.5 · 1.5 − 0.6
    assert rewards == pytest.approx([-0.2, -0.025, 0.15])
    assert parts == mixed.last == {"clip_score": [0.1, 0.25, 0.4], "size": [2.0, 4.0, 6.0]}
    assert repr(mixed) == "0.5 · clip_score (from 0.1 to 0.3) + -0.1 · size (as it comes)"


def test_quality_is_a_part_by_its_name(pictures, expected):
    def even(images, prompts, metadata=None):
        return np.array([0.0, 1.0, 0.0, 1.0])

    mixed = mix({"rali": 0.8, even: 0.2})
    rewards, parts = mixed(pictures, ["a"] * 4)
    unit = (expected - 1) / 4
    assert parts["rali"] == pytest.approx(unit, abs=0.002)
    assert rewards == pytest.approx(0.8 * unit + [0, 0.2, 0, 0.2], abs=0.002)
    assert "0.8 · rali (1–5 as 0–1)" in repr(mixed)
    with pytest.raises(InputError, match="first argument"):
        mixed(prompts=["a"] * 4, made=pictures)


def test_as_trl_calls_it_the_parts_are_logged():
    def long(prompts, completions, **columns):
        return [float(len(each)) for each in completions]

    def first(completions, **columns):
        return [1.0, 0.0]

    logged = {}
    mixed = mix({long: 1.0, first: 2.0})
    rewards = mixed(prompts=["p", "p"], completions=["ab", "cdef"], log_metric=logged.__setitem__)
    assert rewards == [4.0, 4.0] and mixed.__name__ == "mix"
    assert logged == {"reward_part/long": 3.0, "reward_part/first": 0.5}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([0.1, 0.2], "clip_score 3, part 2"),
        ([0.1, float("nan"), 0.2], "nan for picture 2"),
        ([0.1, float("inf"), 0.2], "inf for picture 2"),
        ([0.1, None, 0.2], "one per picture"),
        (0.5, "one per picture"),
    ],
)
def test_a_part_that_gives_other_than_a_number_each_is_refused(given, words):
    def part(images, prompts):
        return given

    mixed = mix({clip_score: 0.5, part: 0.5})
    with pytest.raises(InputError, match=words):
        mixed([None] * 3, ["a"] * 3)
    assert mixed.last == {}


@pytest.mark.parametrize(
    ("parts", "ranges", "words"),
    [
        ({}, {}, "ranges names nothing"),
        ({"clip": 1.0}, {}, '"rali" or a function'),
        ({clip_score: float("nan")}, {}, "weight nan"),
        ({clip_score: 1.0}, {"clip": (0, 1)}, "ranges names clip"),
        ({clip_score: 1.0}, {"clip_score": (1, 0)}, "lower one first"),
        ({(lambda images: 0): 1.0, (lambda images: 1): 1.0}, {}, "Two parts"),
        ([clip_score], {}, "parts is .*expected a dict"),
        ({clip_score: 1.0}, [("clip_score", (0, 1))], "ranges is .*expected a dict"),
        ({clip_score: "1"}, {}, "weight '1'"),
        ({clip_score: None}, {}, "weight None"),
        ({clip_score: 1.0}, {"clip_score": 3}, "the range 3; expected numbers"),
        ({clip_score: 1.0}, {"clip_score": ("0", 1)}, "of a range two"),
    ],
)
def test_a_mix_that_makes_no_sense_is_refused(parts, ranges, words):
    with pytest.raises(InputError, match=words):
        mix(parts, ranges)


@pytest.mark.parametrize(
    ("part", "options", "words"),
    [
        ("rali", {"scaling": "none"}, "leave scaling out"),
        (clip_score, {"caution": 1.0}, 'caution is for "rali", which is no part'),
        ("rali", {"caution": "1"}, "caution is '1'; expected 0 or more"),
        ("rali", {"input_range": 1}, "input_range is black and white"),
        ("rali", {"cutoff": (1, 2)}, 'expected "familiar", a distance above 0'),
    ],
)
def test_an_option_that_rali_cannot_take_is_refused(part, options, words):
    with pytest.raises(InputError, match=words):
        mix({part: 1.0}, **options)


@pytest.mark.parametrize("interval", [np.array([0.1, 0.4]), UserList([0.1, 0.4])])
def test_a_range_may_be_any_list_of_two(interval):
    mixed = mix({clip_score: 1}, ranges={"clip_score": interval})
    assert repr(mixed) == "1 · clip_score (from 0.1 to 0.4)"


def test_a_weight_and_a_cutoff_may_be_numbers_of_numpy_and_torch():
    mixed = mix({"rali": np.float32(0.5)}, cutoff=torch.tensor(2.0), caution=np.float32(0))
    assert repr(mixed) == "0.5 · rali (1–5 as 0–1)"
