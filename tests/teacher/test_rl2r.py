"""RL2R's rewards against values worked out by hand, and what must hold for any scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rali.teacher.rl2r import (
    VARIANTS,
    averaged_probability,
    comparative_probability,
    fidelity,
    preference,
    rl2r_rewards,
    soft_preferences,
)

NAN = float("nan")


def phi(z: float) -> float:
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def test_equation_1():
    # σ² = 0.5 and 0.125: the denominator is √(0.625 + 1e-6).
    found = comparative_probability(np.array([3.0, 4.0]), 3.25, 0.5, 0.125)
    spread = math.sqrt(0.625 + 1e-6)
    assert found == pytest.approx([phi(-0.25 / spread), phi(0.75 / spread)], abs=1e-12)


def test_equation_2():
    assert [preference(2, 1), preference(1, 1), preference(1, 2)] == [1, 0.5, 0]


def test_a_soft_preference_by_hand():
    # √(0.3² + 0.4²) = 0.5, so a difference of 1 is two deviations; without deviations it is Eq. 2.
    mos, std = np.array([3.0, 2.0, 2.0]), np.array([0.3, 0.4, 0.0])
    found = soft_preferences(mos, std)
    assert found[0, 1] == pytest.approx(phi(2)) and found[1, 0] == pytest.approx(phi(-2))
    assert found[1, 2] == found[0, 0] == 0.5
    hard = soft_preferences(mos, np.zeros(3))
    assert hard.tolist() == [[0.5, 1, 1], [0, 0.5, 0.5], [0, 0.5, 0.5]]


def test_preferences_of_ones_own_take_the_place_of_the_mos():
    scores, mos = np.array([[1.0, 3.0], [3.0, 4.0], [2.0, 2.5]]), np.array([1.0, 2.0, 3.0])
    order = np.array([[preference(a, b) for b in mos] for a in mos])
    nothing = np.full(3, np.nan)
    assert rl2r_rewards(scores, nothing, preferences=order) == pytest.approx(
        rl2r_rewards(scores, mos)
    )
    order[2] = order[:, 2] = np.nan  # the third is compared with nobody
    found = rl2r_rewards(scores, nothing, preferences=order)
    assert np.isnan(found[2]).all()
    assert found[:2] == pytest.approx(rl2r_rewards(scores[:2], mos[:2]))


def test_equation_3s_term():
    assert fidelity(1.0, np.array([0.25, 1.0, 0.0]), eps=0) == pytest.approx([0.5, 1, 0])
    assert fidelity(0.5, np.array([0.5]), eps=0) == pytest.approx([1])
    assert fidelity(0.5, np.array([0.0]), eps=0) == pytest.approx([math.sqrt(0.5)])
    assert fidelity(1.0, np.array([0.0])) == pytest.approx([2e-3])  # √1e-6 twice
    assert fidelity(0.0, np.array([0.36]), eps=0) == pytest.approx([0.8])


def test_equation_7():
    found = averaged_probability(np.array([3.0]), np.array([2.0, 4.0]), 1.0, 1.0)
    assert found == pytest.approx([0.5])  # one above, one as far below
    found = averaged_probability(np.array([3.0]), np.array([2.0, 3.0]), 0.5, 0.5)
    assert found == pytest.approx([(phi(1 / math.sqrt(1 + 1e-6)) + 0.5) / 2])


def test_rewards_of_two_pictures_by_hand():
    # Means 2 and 3.5, unbiased variances 2 and 0.5; picture 2 has the higher MOS.
    scores, mos = np.array([[1.0, 3.0], [3.0, 4.0]]), np.array([10.0, 70.0])
    root = math.sqrt(2.5 + 1e-6)
    lower = [math.sqrt(1 - phi((q - 3.5) / root)) for q in (1, 3)]
    higher = [math.sqrt(phi((q - 2) / root)) for q in (3, 4)]
    assert rl2r_rewards(scores, mos, eps=0) == pytest.approx(np.array([lower, higher]))
    # Φ's denominator is √2 with both variances one.
    fixed = rl2r_rewards(scores, mos, eps=0, variant="fixed_variance")
    root = math.sqrt(2 + 1e-6)
    p = (phi((3 - 1) / root) + phi((3 - 3) / root)) / 2
    assert fixed[1, 0] == pytest.approx(math.sqrt(p))
    average = rl2r_rewards(scores, mos, eps=0, variant="probability_average")
    root = math.sqrt(2.5 + 1e-6)
    p = (phi((4 - 1) / root) + phi((4 - 3) / root)) / 2
    assert average[1, 1] == pytest.approx(math.sqrt(p))


def test_the_binary_variant_counts_sides():
    # Means: 2, 3, 3. MOS: lowest, then two equal ones.
    scores = np.array([[1.0, 3.0], [3.0, 3.0], [3.04, 2.96]])
    found = rl2r_rewards(scores, np.array([1.0, 2.0, 2.0]), variant="binary")
    assert found[0].tolist() == [1, 0]  # 3.0 against means of 3: a tie, wrongly
    assert found[1].tolist() == [1, 1]  # above 2, and within 0.05 of 3: a tie, rightly
    assert found[2].tolist() == [1, 1]
    assert rl2r_rewards(scores, np.array([3.0, 2.0, 1.0]), variant="binary")[2].tolist() == [0, 0]


def test_unparsed_completions_earn_nothing_and_count_for_nothing():
    mos = np.array([1.0, 2.0, 3.0])
    scores = np.array([[2.0, NAN, 3.0], [3.0, 4.0, NAN], [NAN, NAN, NAN]])
    found = rl2r_rewards(scores, mos)
    assert found[0, 1] == 0 and found[1, 2] == 0 and (found[2] == 0).all()
    # As if the failures and the third picture had not been there.
    without = rl2r_rewards(np.array([[2.0, 3.0], [3.0, 4.0]]), mos[:2])
    assert found[0, [0, 2]] == pytest.approx(without[0])
    assert found[1, :2] == pytest.approx(without[1])


def test_one_parsed_score_has_no_variance():
    found = rl2r_rewards(np.array([[2.0, NAN], [3.0, NAN]]), np.array([1.0, 2.0]), eps=0)
    assert found[:, 0] == pytest.approx([1, 1])  # √γ is a thousandth: certain, and right


def test_a_picture_without_a_partner_has_no_reward():
    scores = np.array([[2.0, 3.0]] * 3)
    found = rl2r_rewards(scores, np.array([1.0, 2.0, 3.0]), ["koniq", "spaq", "koniq"])
    assert np.isnan(found[1]).all() and not np.isnan(found[[0, 2]]).any()
    assert np.isnan(rl2r_rewards(scores[:1], np.array([1.0]))).all()
    alone = rl2r_rewards(np.array([[2.0], [NAN]]), np.array([1.0, 2.0]))
    assert np.isnan(alone[0]).all(), "nobody else could be parsed"


def test_pairs_are_formed_inside_one_data_set():
    scores = np.array([[1.0, 2.0], [3.0, 4.0], [1.5, 2.5], [4.5, 4.0]])
    mos = np.array([1.0, 2.0, 80.0, 20.0])
    both = rl2r_rewards(scores, mos, ["a", "a", "b", "b"])
    assert both[:2] == pytest.approx(rl2r_rewards(scores[:2], mos[:2]))
    assert both[2:] == pytest.approx(rl2r_rewards(scores[2:], mos[2:]))


def test_equal_scores_earn_the_same():
    found = rl2r_rewards(np.full((3, 4), 3.0), np.array([1.0, 2.0, 3.0]), eps=0)
    assert found == pytest.approx(math.sqrt(0.5))


SCORES = arrays(np.float64, (4, 3), elements=st.integers(100, 500).map(lambda n: n / 100))


MOS = arrays(np.float64, 4, elements=st.integers(0, 6).map(float))


@settings(max_examples=100, deadline=None)
@given(SCORES, MOS, st.sampled_from(VARIANTS))
def test_only_the_order_of_the_mos_counts(scores, mos, variant):
    assert rl2r_rewards(scores, mos, variant=variant) == pytest.approx(
        rl2r_rewards(scores, np.exp(mos) * 3 - 7, variant=variant)
    )


@settings(max_examples=100, deadline=None)
@given(SCORES, MOS, st.sampled_from(VARIANTS), st.permutations(range(4)))
def test_the_order_of_the_pictures_does_not_matter(scores, mos, variant, order):
    found = rl2r_rewards(scores, mos, variant=variant)
    assert found[order] == pytest.approx(rl2r_rewards(scores[order], mos[order], variant=variant))
    assert (found >= 0).all() and (found <= 1 + 2e-3).all()


@settings(max_examples=100, deadline=None)
@given(SCORES, MOS)
def test_probabilities_of_both_directions_sum_to_one(scores, mos):
    for i in range(4):
        for j in range(4):
            assert preference(mos[i], mos[j]) + preference(mos[j], mos[i]) == 1
            one = averaged_probability(scores[i], scores[j], 0.3, 0.2)
            other = averaged_probability(scores[j], scores[i], 0.2, 0.3)
            assert one.mean() + other.mean() == pytest.approx(1)  # Eq. 7, averaged over k
    # Eq. 1 with no variance: all of a picture's scores are its mean.
    a, b = 2.0, 2.0005
    one, other = (comparative_probability(np.array([x]), y, 0, 0) for x, y in ((a, b), (b, a)))
    assert one[0] + other[0] == pytest.approx(1) and one[0] == pytest.approx(phi(-0.5))
