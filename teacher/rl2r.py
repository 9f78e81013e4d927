"""RL2R, reinforcement learning to rank (VisualQuality-R1 §3.1): rewards from comparisons.

In: per picture, K predicted scores and the human MOS. Out: one reward per completion: how well the
order that its score implies agrees with the order of the MOS, over all other pictures of the same
data set. Only the order of the MOS counts, so data sets with different scales may be mixed.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np

GAMMA = 1e-6
Variant = Literal["fidelity", "binary", "probability_average", "fixed_variance"]
VARIANTS: tuple[Variant, ...] = ("fidelity", "binary", "probability_average", "fixed_variance")


def comparative_probability(
    scores: np.ndarray, mean: float, variance: float, other_variance: float, gamma: float = GAMMA
) -> np.ndarray:
    """Thurstone's probability that picture i is better than j, by its k-th score; Eq. 1.

    Φ((q_k(x_i) − μ(q(x_j))) / √(σ²(q(x_i)) + σ²(q(x_j)) + γ))

    Args:
        scores: picture i's, [K]. mean: the mean of picture j's.
        variance, other_variance: the unbiased variances of picture i's and of picture j's.

    Returns:
        Probabilities [K], 0–1.
    """
    return _normal_cdf((scores - mean) / np.sqrt(variance + other_variance + gamma))


def averaged_probability(
    scores: np.ndarray,
    others: np.ndarray,
    variance: float,
    other_variance: float,
    gamma: float = GAMMA,
) -> np.ndarray:
    """The ablation's alternative to Eq. 1, the mean over picture j's scores; Eq. 7.

    1/K Σ_k' Φ((q_k(x_i) − q_k'(x_j)) / √(σ²(q(x_i)) + σ²(q(x_j)) + γ))

    Args:
        scores: picture i's, [K]. others: picture j's, [K'].

    Returns:
        Probabilities [K], 0–1.
    """
    spread = np.sqrt(variance + other_variance + gamma)
    return _normal_cdf((scores[:, None] - others[None, :]) / spread).mean(1)


def preference(mos: float, other: float) -> float:
    """What people prefer: 1 if picture i has the higher MOS, 0.5 in a tie, else 0; Eq. 2."""
    return 1.0 if mos > other else 0.5 if mos == other else 0.0


def soft_preferences(mos: np.ndarray, std: np.ndarray) -> np.ndarray:
    """How likely people are to prefer picture i, from the spread of their ratings.

    Φ((MOS_i − MOS_j) / √(std_i² + std_j²)): Thurstone's case V with each picture's own deviation,
    in place of Eq. 2. Where neither picture has a deviation, it is Eq. 2.

    Args:
        mos, std: means and standard deviations of the ratings, [B], on one scale.

    Returns:
        Probabilities [B, B], 0–1.
    """
    difference = mos[:, None] - mos[None, :]
    spread = np.sqrt(std[:, None] ** 2 + std[None, :] ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(difference == 0, 0.0, difference / spread)
    return _normal_cdf(z)


def fidelity(target: float, probability: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """How well predicted probabilities agree with a preference; a term of the sum in Eq. 3.

    √(p·p_k + ε) + √((1 − p)(1 − p_k) + ε)

    Args:
        target: p, 0–1. probability: p_k, [K], 0–1.
        eps: keeps the roots away from 0, as in the authors' code; 0 is the equation as printed.

    Returns:
        [K], between 0 and about 1: 1 where they agree.
    """
    probability = np.asarray(probability, dtype=np.float64)
    agree = np.sqrt(target * probability + eps)
    return agree + np.sqrt((1.0 - target) * (1.0 - probability) + eps)


def rl2r_rewards(
    scores: np.ndarray,
    mos: np.ndarray,
    datasets: Sequence[str] | None = None,
    *,
    preferences: np.ndarray | None = None,
    variant: Variant = "fidelity",
    gamma: float = GAMMA,
    eps: float = 1e-6,
    tie: float = 0.05,
) -> np.ndarray:
    """Rewards of every completion, each picture compared with all others of its data set; Eq. 3.

    Args:
        scores: predicted, [B, K]; NaN where a completion could not be parsed.
        mos: human scores, [B], on any scale on which higher is better.
        datasets: each picture's data set; None for a single one.
        preferences: how likely picture i is better than j, [B, B], in place of Eq. 2; NaN where
            that is not known, so that the two are not compared. None takes the order of the MOS.
        variant: "fidelity" is Eqs. 1–3; "probability_average" puts Eq. 7 for Eq. 1;
            "fixed_variance" does so with both variances 1; "binary" gives 1 for each partner j
            where the score is on the right side of μ(q(x_j)).
        gamma, eps: γ of Eq. 1 and ε of Eq. 3.
        tie: for "binary", scores closer than this are a tie, right where the MOS are equal.

    Returns:
        Rewards [B, K], 0–1. NaN for a picture without a partner, which is alone in its data set or
        where none of the others was parsed. 0 for a completion that could not be parsed.
    """
    scores = np.asarray(scores, dtype=np.float64)
    mos = np.asarray(mos, dtype=np.float64)
    names = [""] * len(mos) if datasets is None else list(datasets)
    if scores.ndim != 2 or mos.shape != scores.shape[:1] or len(names) != len(mos):
        raise ValueError(
            f"Expected scores [B, K], mos [B] and B names; given {scores.shape}, {mos.shape} and "
            f"{len(names)}."
        )
    parsed = [row[~np.isnan(row)] for row in scores]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of empty rows are never used
        means = [row.mean() for row in parsed]
        variances = [row.var(ddof=1) if len(row) > 1 else 0.0 for row in parsed]

    if preferences is None:
        preferences = np.array([[preference(one, other) for other in mos] for one in mos])

    def term(i: int, j: int) -> np.ndarray:
        own, other, target = scores[i], parsed[j], preferences[i, j]
        if variant == "binary":
            difference = own - means[j]
            side = np.where(np.abs(difference) < tie, 0.0, np.sign(difference))
            return (side == 2 * target - 1).astype(np.float64)
        if variant == "fidelity":
            p = comparative_probability(own, means[j], variances[i], variances[j], gamma)
        elif variant == "probability_average":
            p = averaged_probability(own, other, variances[i], variances[j], gamma)
        else:
            p = averaged_probability(own, other, 1.0, 1.0, gamma)
        return fidelity(target, p, eps)

    rewards = np.full(scores.shape, np.nan)
    for i, name in enumerate(names):
        partners = [j for j, other in enumerate(names) if j != i and other == name]
        partners = [j for j in partners if len(parsed[j]) and not np.isnan(preferences[i, j])]
        if partners:
            rewards[i] = np.mean([term(i, j) for j in partners], axis=0)
            rewards[i, np.isnan(scores[i])] = 0.0
    return rewards


def _normal_cdf(z: np.ndarray) -> np.ndarray:
    """Φ(z), the standard normal distribution function."""
    from scipy.special import ndtr  # a second, which the settings of a training need not wait for

    return np.asarray(ndtr(z))
