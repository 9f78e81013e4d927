"""A sweep says which of a paper's orders it shows, and which are noise."""

from __future__ import annotations

import pytest

from rali.evaluation.sweep_orders import baseline_notes, difference, order_notes

PAPER = {"a": {"srcc": 0.8}, "b": {"srcc": 0.7}, "c": {"srcc": 0.6}, "tied": {"srcc": 0.6}}


def test_the_interval_is_students_of_paired_seeds():
    # Differences 0.01, 0.02, 0.03: mean 0.02, sd 0.01; t with 2 degrees of freedom at 97.5 % is
    # 4.3027 (printed tables), so the half width is 4.3027 · 0.01 / √3 = 0.02484.
    found = difference([0.51, 0.72, 0.33], [0.50, 0.70, 0.30])
    assert found == pytest.approx((0.02, -0.00484, 0.04484), abs=1e-5)


def test_orders_are_shown_contradicted_or_noise():
    found = {
        "a": {"srcc": [0.500, 0.510, 0.490]},  # above c by 0.1 in each seed
        "b": {"srcc": [0.601, 0.609, 0.590]},  # above a by 0.1, against the paper
        "c": {"srcc": [0.400, 0.411, 0.390]},
        "tied": {"srcc": [0.300, 0.600, 0.500]},  # anywhere
    }
    (note,) = order_notes(found, PAPER, {"srcc": "SRCC"}, 3)
    shown, contrary, noise = note.split("; the other way round ")[0], *note.split(
        "; the other way round ")[1].split("; within")  # fmt: skip
    assert shown.startswith("SRCC, orders of the paper (5): shown 2: a > c (+0.100 [")
    assert "b > c (+0.200 [" in shown and "tied" not in shown + contrary
    assert contrary.startswith("1: a > b (-0.100 [") and noise.startswith(" the noise of 3 seeds 2")


def test_one_seed_shows_nothing_and_missing_seeds_are_left_out():
    one = {case: {"srcc": [value["srcc"]]} for case, value in PAPER.items()}
    assert "One seed shows no order" in order_notes(one, PAPER, {"srcc": "SRCC"}, 1)[0]
    part = {"a": {"srcc": [0.5, 0.6]}, "b": {"srcc": [0.4]}, "c": {"srcc": [0.1, 0.2]}}
    (note,) = order_notes(part, PAPER, {"srcc": "SRCC"}, 2)
    assert "orders of the paper (1)" in note and " b" not in note
    assert order_notes(part, {}, {"srcc": "SRCC"}, 2) == []


def test_a_seed_without_a_value_is_no_noise():
    found = {
        "a": {"srcc": [0.5, 0.51, 0.49]},
        "b": {"srcc": [0.6, float("nan"), 0.6]},  # a model that says the same of every picture
        "c": {"srcc": [0.4, 0.41, 0.39]},
    }
    (note,) = order_notes(found, PAPER, {"srcc": "SRCC"}, 3)
    assert "orders of the paper (3): shown 1: a > c" in note
    assert "within the noise of 3 seeds 0; not known 2, as a seed of b has no value." in note


def test_differences_from_the_baseline_have_students_intervals():
    found = {
        "start": {"srcc": [0.5, 0.5, 0.5]},
        "better": {"srcc": [0.51, 0.52, 0.53]},  # half width 0.02484, as above
        "a seed short": {"srcc": [0.9, 0.9]},
    }
    titles = {"srcc": "SRCC"}
    assert baseline_notes(found, "start", titles, 3) == [
        "SRCC, less start: better +0.020 [-0.005, +0.045]."
    ]
    assert baseline_notes(found, "", titles, 3) == []
    assert baseline_notes({case: {"srcc": [0.5]} for case in found}, "start", titles, 1) == []
