"""How well scores agree with people's: SRCC, PLCC, KRCC, RMSE and their 95 % intervals.

In: predictions [n] and mean opinion scores `mos` [n]. Out: plain numbers. Signs are kept and no
picture is dropped. Logistic mapping: VQEG, FR-TV phase II (2003), the 4-parameter curve.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt

from rali.errors import InputError, require

Floats = npt.NDArray[np.float64]

SMALLEST_FIT = 5  # four parameters fit any four points exactly
LARGEST = 1e100  # the squares of larger numbers overflow
RESAMPLES = 1000
KRCC_RESAMPLES = 500  # Kendall's tau is slow, and 500 draws already settle the second decimal


def _paired(pred: npt.ArrayLike, mos: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Both inputs as float64 [n], or a sentence on what is wrong with them."""
    pairs = {}
    for name, values in (("predictions", pred), ("mean opinion scores", mos)):
        try:
            array = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"The {name} hold something that is not a number: {error}.") from error
        if array.ndim != 1:
            raise InputError(
                f"The {name} have shape {array.shape}; expected one number per picture, [n]."
            )
        wrong = np.flatnonzero(~np.isfinite(array))
        if wrong.size:
            index = int(wrong[0])
            raise InputError(
                f"The {name} hold {array[index]} at index {index} "
                f"({wrong.size} of {array.size} are not finite); every picture needs a number."
            )
        if array.size and np.abs(array).max() > LARGEST:
            raise InputError(
                f"The {name} hold {array[np.abs(array).argmax()]:g}; statistics need numbers from "
                f"-{LARGEST:g} to {LARGEST:g}."
            )
        pairs[name] = array
    predicted, true = pairs.values()
    if predicted.size != true.size:
        raise InputError(
            f"There are {predicted.size} predictions and {true.size} mean opinion scores; "
            "give one of each per picture."
        )
    if predicted.size < 3:
        raise InputError(f"Statistics need at least 3 pictures; {predicted.size} were given.")
    return predicted, true


def _varied(pred: npt.ArrayLike, mos: npt.ArrayLike) -> tuple[Floats, Floats]:
    predicted, true = _paired(pred, mos)
    for name, array in (("predictions", predicted), ("mean opinion scores", true)):
        if np.ptp(array) == 0:
            raise InputError(f"All {name} are equal ({array[0]:g}): a correlation is not defined.")
    return predicted, true


def srcc(pred: npt.ArrayLike, mos: npt.ArrayLike) -> float:
    """Spearman's rank correlation of pred [n] and mos [n], in [-1, 1]; ties share their mean rank.

    Raises:
        InputError: different lengths, fewer than 3, a value that is not finite, constant input.
    """
    predicted, true = _varied(pred, mos)
    return _pearson(_ranks(predicted), _ranks(true))


def plcc(pred: npt.ArrayLike, mos: npt.ArrayLike) -> float:
    """Pearson's linear correlation of pred [n] and mos [n] as they are, in [-1, 1].

    Raises:
        InputError: as `srcc`.
    """
    return _pearson(*_varied(pred, mos))


def krcc(pred: npt.ArrayLike, mos: npt.ArrayLike) -> float:
    """Kendall's tau-b of pred [n] and mos [n], in [-1, 1]; tau-b corrects for ties.

    Raises:
        InputError: as `srcc`.
    """
    return _tau_b(*_varied(pred, mos))


def rmse(pred: npt.ArrayLike, mos: npt.ArrayLike) -> float:
    """Root mean squared error of pred [n] against mos [n], in units of `mos`, without a mapping.

    Raises:
        InputError: different lengths, fewer than 3, a value that is not finite.
    """
    predicted, true = _paired(pred, mos)
    return float(np.sqrt(np.mean((predicted - true) ** 2)))


def plcc_logistic(pred: npt.ArrayLike, mos: npt.ArrayLike) -> float:
    """PLCC after the 4-parameter logistic that is fitted to the same pictures, in [-1, 1].

    The sign of a falling curve is kept: predictions that rank backwards get a negative number.
    Where `fit_logistic` finds no curve, the mapping is a straight line, which does not change PLCC.

    Raises:
        InputError: as `srcc`.
    """
    predicted, true = _varied(pred, mos)
    return _pearson(_mapped(find_logistic(predicted, true), predicted), true)


@dataclass(frozen=True)
class AgreementMetric:
    """One way to measure how well predictions agree with people.

    Attributes:
        function: pred [n] and mos [n] → the number.
        short: its name in the papers' tables.
        label: its name beside the others.
    """

    function: Callable[[npt.ArrayLike, npt.ArrayLike], float]
    short: str
    label: str


METRICS = {
    "srcc": AgreementMetric(srcc, "SRCC", "SRCC"),
    "plcc": AgreementMetric(plcc, "PLCC", "PLCC (raw)"),
    "plcc_logistic": AgreementMetric(plcc_logistic, "PLCC (logistic)", "PLCC (logistic)"),
    "krcc": AgreementMetric(krcc, "KRCC", "KRCC"),
    "rmse": AgreementMetric(rmse, "RMSE", "RMSE"),
}


def short_name(metric: str) -> str:
    """The papers' name of a metric, such as SRCC; what is not in `METRICS` stays as it is."""
    return METRICS[metric].short if metric in METRICS else metric


@dataclass(frozen=True)
class Logistic:
    """VQEG's curve (b1 - b2) / (1 + exp(-(x - b3) / b4)) + b2, b4 > 0; falls where b1 < b2."""

    b1: float
    b2: float
    b3: float
    b4: float

    def __call__(self, pred: npt.ArrayLike) -> Floats:
        """Predictions [n] mapped to the scale of the mean opinion scores [n]."""
        z = (np.asarray(pred, dtype=np.float64) - self.b3) / self.b4
        rise = 0.5 * (1.0 + np.tanh(0.5 * z))  # 1 / (1 + exp(-z)) that cannot overflow
        return (self.b1 - self.b2) * rise + self.b2


def fit_logistic(pred: npt.ArrayLike, mos: npt.ArrayLike) -> Logistic:
    """Fit the 4-parameter logistic from pred [n] to mos [n] by least squares.

    It starts from a gentle and from a steep slope and keeps the better fit. b4 is fitted as its
    logarithm, so it stays positive.

    Raises:
        InputError: as `srcc`; fewer than 5 pictures; no convergence; or a curve that fits worse
            than the straight line, which the logistic approaches for large b4.
    """
    optimize = require("scipy.optimize", "data")
    predicted, true = _varied(pred, mos)
    if predicted.size < SMALLEST_FIT:
        raise InputError(
            f"A 4-parameter logistic needs at least {SMALLEST_FIT} pictures; "
            f"{predicted.size} were given."
        )
    centre, spread = predicted.mean(), predicted.std()
    z = (predicted - centre) / spread
    ends = (true.max(), true.min())
    if _pearson(predicted, true) < 0:
        ends = ends[::-1]

    def curve(x: Floats, b1: float, b2: float, b3: float, log_b4: float) -> Floats:
        return Logistic(b1, b2, b3, math.exp(min(max(log_b4, -20.0), 20.0)))(x)

    best: tuple[float, Logistic] | None = None
    for scale in (1.0, 0.25):
        try:
            with warnings.catch_warnings():  # the covariance, unused here, may not exist
                warnings.simplefilter("ignore", optimize.OptimizeWarning)
                fitted, _ = optimize.curve_fit(
                    curve, z, true, p0=(*ends, 0.0, math.log(scale)), maxfev=5000
                )
        except RuntimeError:  # no convergence from this start
            continue
        error = float(np.sum((curve(z, *fitted) - true) ** 2))
        b1, b2, b3 = (float(value) for value in fitted[:3])
        b4 = math.exp(min(max(float(fitted[3]), -20.0), 20.0))
        found = Logistic(b1, b2, float(centre + spread * b3), float(spread * b4))
        if np.isfinite(astuple(found)).all() and (best is None or error < best[0]):
            best = error, found
    line = true.var() * true.size * (1.0 - _pearson(predicted, true) ** 2)
    if best is None or best[0] > line * (1 + 1e-6) + 1e-12:
        raise InputError("The 4-parameter logistic did not converge on these predictions.")
    return best[1]


def find_logistic(pred: npt.ArrayLike, mos: npt.ArrayLike) -> Logistic | None:
    """`fit_logistic`, or None where it finds no curve."""
    try:
        return fit_logistic(pred, mos)
    except InputError:
        return None


def bootstrap(
    pred: npt.ArrayLike,
    mos: npt.ArrayLike,
    *,
    resamples: int = RESAMPLES,
    krcc_resamples: int = KRCC_RESAMPLES,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals (2.5 % and 97.5 %) of every metric, by resampling pictures.

    Pictures are drawn with replacement, `resamples` times (KRCC uses the first `krcc_resamples`
    draws). For `plcc_logistic` the curve is fitted once, to all pictures, and kept. A draw in which
    the predictions, the mapped predictions or `mos` are constant has no correlation and is drawn
    again. The same seed gives the same intervals.

    Args:
        pred: predictions [n]. mos: mean opinion scores [n].

    Returns:
        {"srcc": (low, high), "plcc": …, "plcc_logistic": …, "krcc": …, "rmse": …}

    Raises:
        InputError: as `srcc`.
    """
    predicted, true = _varied(pred, mos)
    mapped = _mapped(find_logistic(predicted, true), predicted)
    values: dict[str, list[Floats]] = {name: [] for name in METRICS}
    taus: list[float] = []
    sides = (predicted, mapped, true)
    for index in _draws(sides, resamples, np.random.default_rng(seed)):
        x, y = predicted[index], true[index]
        values["plcc"].append(_pearson_rows(x, y))
        values["plcc_logistic"].append(_pearson_rows(mapped[index], y))
        values["srcc"].append(_pearson_rows(_ranks(x), _ranks(y)))
        values["rmse"].append(np.sqrt(np.mean((x - y) ** 2, axis=1)))
        for row in range(min(len(index), krcc_resamples - len(taus))):
            taus.append(_tau_b(x[row], y[row]))
    values["krcc"] = [np.array(taus)]
    return {name: _percentiles(np.concatenate(parts)) for name, parts in values.items()}


def mean_interval(
    values: npt.ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval of the mean of values [n], n ≥ 1, by resampling them."""
    array = np.asarray(values, dtype=np.float64)
    draw = np.random.default_rng(seed)
    means = [array[draw.integers(array.size, size=array.size)].mean() for _ in range(resamples)]
    return _percentiles(np.array(means))


def _mapped(curve: Logistic | None, pred: Floats) -> Floats:
    """Predictions [n] on the curve, mirrored where it falls so that the sign is kept."""
    if curve is None:
        return pred
    mapped = curve(pred) if curve.b1 > curve.b2 else -curve(pred)
    return mapped if np.ptp(mapped) > 0 else pred


def _draws(
    sides: Sequence[Floats], resamples: int, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.int64]]:
    """Index arrays [rows, n], `resamples` rows in all, in pieces of about a million numbers.

    No row makes one of `sides`, each [n], constant. Values on the flat end of a steep curve that
    differ by rounding alone count as constant too.
    """
    n, left = sides[0].size, resamples
    while left:
        index = rng.integers(0, n, size=(min(left, max(1, 1_000_000 // n)), n))
        usable = np.all([np.ptp(s[index], axis=1) > 1e-12 * np.ptp(s) for s in sides], axis=0)
        left -= int(usable.sum())
        yield index[usable]


def _percentiles(values: Floats) -> tuple[float, float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def _ranks(values: Floats) -> Floats:
    rankdata: Callable[..., Floats] = require("scipy.stats", "data").rankdata
    return rankdata(values, axis=-1)


def _tau_b(x: Floats, y: Floats) -> float:
    return float(require("scipy.stats", "data").kendalltau(x, y, method="asymptotic").statistic)


def _pearson(x: Floats, y: Floats) -> float:
    return float(_pearson_rows(x[None], y[None])[0])


def _pearson_rows(x: Floats, y: Floats) -> Floats:
    """Pearson's r of each row of x [rows, n] with the same row of y [rows, n]: [rows]."""
    return np.clip(np.sum(_unit(x) * _unit(y), axis=1), -1.0, 1.0)


def _unit(rows: Floats) -> Floats:
    """Each row [rows, n] centred, at length 1."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    rows = rows / np.max(np.abs(rows), axis=1, keepdims=True)  # tiny spreads would underflow
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
