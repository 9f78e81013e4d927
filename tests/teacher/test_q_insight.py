"""Q-Insight's rewards against values worked out by hand."""

from __future__ import annotations

from rali.teacher.answers import Comparison, Degradation, Failure, Score
from rali.teacher.q_insight import (
    class_reward,
    comparison_reward,
    degradation_reward,
    level_reward,
    score_reward,
)


def test_the_score_reward_is_one_inside_the_threshold():
    assert score_reward(Score(3.34, ""), 3.0) == 1
    assert score_reward(Score(3.35, ""), 3.0) == 0  # |3.35 − 3| is 0.35000000000000009
    assert score_reward(Score(2.5, ""), 3.0, threshold=0.6) == 1
    assert score_reward(Failure("none"), 3.0) == 0


def test_class_and_level_rewards():
    right, wrong = Degradation("blur", 3, ""), Degradation("blur", 2, "")
    assert class_reward(right, "blur") == class_reward(wrong, "blur") == 1
    assert level_reward(right, "blur", 3) == 1 and level_reward(wrong, "blur", 3) == 0
    assert level_reward(Degradation("noise", 3, ""), "blur", 3) == 0
    assert degradation_reward(right, "blur", 3) == 1
    assert degradation_reward(wrong, "blur", 3) == 0.25
    assert degradation_reward(Degradation("null", 0, ""), "null", 0) == 1
    assert degradation_reward(Degradation("blur", None, ""), "blur", 0) == 0.25
    assert degradation_reward(Failure("none"), "null", 0) == 0
    assert degradation_reward(Score(3, ""), "null", 0) == 0


def test_comparison_reward():
    assert comparison_reward(Comparison("A", ""), "A") == 1
    assert comparison_reward(Comparison("A", ""), "similar") == 0
    assert comparison_reward(Failure("none"), "A") == 0
