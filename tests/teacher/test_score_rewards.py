"""Rewards of a score's distance against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rali.teacher.answers import Failure, Score
from rali.teacher.score_rewards import gaussian_reward, rank_score_rewards


def test_the_gaussian_falls_with_the_distance():
    assert gaussian_reward(Score(3.0, ""), 3.0) == 1
    assert gaussian_reward(Score(4.0, ""), 3.0, 1.0) == pytest.approx(math.exp(-0.5))
    assert gaussian_reward(Score(2.0, ""), 3.0) == pytest.approx(math.exp(-2))  # two deviations
    assert gaussian_reward(Failure("none"), 3.0) == 0


def test_order_and_distance_by_hand():
    # MOS 2 and 4. The second picture's mean is 4, as people say.
    scores = np.array([[2.0, 3.0, 5.0, np.nan], [4.0, 4.0, 3.5, 4.5]])
    found = rank_score_rewards(scores, np.array([2.0, 4.0]), ["a", "a"])
    # s = 2 / (2 + off + 0); the third is on the wrong side.
    assert found[0] == pytest.approx([1, math.sqrt(2 / 3), 0, 0])
    # The first one's mean is 10/3, 4/3 off; 3.5 and 4.5 are 1/2 off.
    off = math.sqrt(2 / (2 + 4 / 3 + 1 / 2))
    assert found[1] == pytest.approx([math.sqrt(2 / (2 + 4 / 3))] * 2 + [off] * 2)


def test_only_partners_of_another_mos_in_the_same_data_set_count():
    scores, mos = np.array([[2.0], [3.0], [4.0]]), np.array([2.0, 2.0, 4.0])
    found = rank_score_rewards(scores, mos, ["a", "a", "b"])
    assert np.isnan(found).all()
    found = rank_score_rewards(scores, mos, ["a", "a", "a"])
    assert found[:, 0] == pytest.approx([1, math.sqrt(2 / 3), (1 + math.sqrt(2 / 3)) / 2])
