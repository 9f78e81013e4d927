"""The statistics against values worked out by hand or by another route."""

from __future__ import annotations

import time

import numpy as np
import pytest

from rali import metrics
from rali.errors import InputError
from rali.report.evaluation import Statistics


def test_srcc_with_ties_shares_ranks() -> None:
    # ranks of pred: 1, 2.5, 2.5, 4; of mos: 1, 2, 3, 4. Centred: (-1.5, 0, 0, 1.5) and
    # (-1.5, -.5, .5, 1.5): 4.5 / sqrt(4.5 * 5) = sqrt(0.9)
    assert metrics.srcc([1, 2, 2, 3], [10, 20, 30, 40]) == pytest.approx(0.9**0.5)


def test_srcc_by_rank_differences() -> None:
    # no ties: 1 - 6 * sum(d²) / (n (n² - 1)), d = (1, -1, 0, 1, -1) -> 1 - 24/120
    assert metrics.srcc([2, 1, 3, 5, 4], [1, 2, 3, 4, 5]) == pytest.approx(0.8)


def test_krcc_is_tau_b() -> None:
    # 6 pairs: 5 concordant, 0 discordant, 1 tied in pred: 5 / sqrt((6 - 1) * 6)
    assert metrics.krcc([1, 2, 2, 3], [10, 20, 30, 40]) == pytest.approx(5 / 30**0.5)


def test_plcc_agrees_with_numpy() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 40))
    assert metrics.plcc(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_rmse_by_hand() -> None:
    assert metrics.rmse([1, 2, 3], [1, 4, 2]) == pytest.approx((5 / 3) ** 0.5)


def test_signs_are_kept() -> None:
    mos = np.linspace(1, 5, 30)
    backwards = -np.tanh(mos - 3)
    for metric in (metrics.srcc, metrics.plcc, metrics.krcc, metrics.plcc_logistic):
        assert metric(backwards, mos) < -0.9


@pytest.mark.parametrize("curve", [(4.8, 1.2, 3.0, 0.4), (1.5, 4.5, -20.0, 7.0)])
def test_logistic_recovers_its_parameters(curve: tuple[float, ...]) -> None:
    b1, b2, b3, b4 = curve
    x = np.linspace(b3 - 5 * b4, b3 + 5 * b4, 60)
    y = (b1 - b2) / (1 + np.exp(-(x - b3) / b4)) + b2
    found = metrics.fit_logistic(x, y)
    assert [found.b1, found.b2, found.b3, found.b4] == pytest.approx(curve, rel=1e-3)
    assert abs(metrics.plcc_logistic(x, y)) == pytest.approx(1.0)


def test_logistic_without_a_curve_is_the_straight_line() -> None:
    x, y = [1.0, 2.0, 4.0, 3.0], [1.0, 2.0, 3.0, 5.0]
    with pytest.raises(InputError, match="at least 5"):
        metrics.fit_logistic(x, y)
    assert metrics.plcc_logistic(x, y) == pytest.approx(metrics.plcc(x, y))
    assert Statistics.of(x, y).logistic is None


@pytest.mark.parametrize(
    ("pred", "mos", "message"),
    [
        ([1, 2, 3], [1, 2], "3 predictions and 2"),
        ([1, 2], [1, 2], "at least 3"),
        ([1, float("nan"), 3], [1, 2, 3], "predictions hold nan at index 1"),
        ([1, 2, 3], [1, 2, float("inf")], "opinion scores hold inf at index 2"),
        ([3.1, 3.1, 3.1], [1, 2, 3], r"All predictions are equal \(3.1\)"),
        ([[1, 2], [3, 4]], [1, 2], "shape"),
        ([1, 2, 3], [1, "good", 3], "opinion scores hold something that is not a number"),
    ],
)
def test_what_cannot_be_measured_is_an_error(pred: list, mos: list, message: str) -> None:
    for metric in (metrics.srcc, metrics.plcc, metrics.krcc, metrics.plcc_logistic):
        with pytest.raises(InputError, match=message):
            metric(pred, mos)


def test_rmse_of_equal_predictions_is_defined() -> None:
    assert metrics.rmse([3, 3, 3], [2, 3, 4]) == pytest.approx((2 / 3) ** 0.5)


def test_bootstrap_is_seeded_quick_and_about_as_wide_as_theory_says() -> None:
    rng = np.random.default_rng(1)
    mos = rng.normal(size=2000)
    pred = 0.8 * mos + 0.6 * rng.normal(size=2000)  # correlation 0.8
    start = time.process_time()  # not wall time: a busy machine must not fail this
    intervals = metrics.bootstrap(pred, mos)
    assert time.process_time() - start < 6  # about 1.4 s
    assert intervals == metrics.bootstrap(pred, mos)
    low, high = intervals["plcc"]
    # Fisher: atanh(r) has standard error 1 / sqrt(n - 3)
    z, error = np.arctanh(metrics.plcc(pred, mos)), 1.96 / 1997**0.5
    assert (low, high) == pytest.approx((np.tanh(z - error), np.tanh(z + error)), abs=0.004)
    for name, (low, high) in intervals.items():
        assert low < metrics.METRICS[name].function(pred, mos) < high


def test_bootstrap_redraws_samples_that_a_steep_curve_makes_constant() -> None:
    # The fitted curve is a step: a draw from one side of it varies, but not once it is mapped.
    pred = np.concatenate([np.linspace(1, 1.4, 5), np.linspace(4.6, 5, 5)])
    mos = np.where(pred > 3, 5.0, 1.0) + 0.01 * np.sin(7 * pred)
    found = Statistics.of(pred, mos)
    assert found.logistic is not None
    assert np.ptp(found.logistic(pred[:5])) < 1e-9
    assert np.isfinite(list(found.intervals.values())).all()
    assert found.intervals["plcc_logistic"][0] > 0.99


def test_bootstrap_redraws_constant_samples() -> None:
    intervals = metrics.bootstrap([1, 1, 1, 1, 2], [1, 2, 1, 1, 1], resamples=200)
    assert np.isfinite(list(intervals.values())).all()


@pytest.mark.parametrize("largest", [1.7e308, 1e200, -1e101])
def test_numbers_whose_squares_overflow_are_refused(largest):
    for pred, mos in (
        ([-largest, 1, 2, largest], [1, 2, 3, 4]),
        ([1, 2, 3, 4], [largest, 1, 2, 3]),
    ):
        with pytest.raises(InputError, match="statistics need numbers from"):
            metrics.bootstrap(pred, mos)
