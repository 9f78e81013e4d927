"""Rewards of a score that reward its distance to people's, alone or beside the order.

In: predicted and human scores on the prompt's scale. Out: one reward per completion, 0–1.
Q-Insight's threshold is in `q_insight`; rewards of the order alone are in `rl2r`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .answers import Answer, Score


def gaussian_reward(answer: Answer, mos: float, sigma: float = 0.5) -> float:
    """exp(−(s − MOS)² / 2σ²): 1 for the right score, falling smoothly with the distance.

    Args:
        mos, sigma: on the prompt's scale. The default σ is ours.
    """
    if not isinstance(answer, Score):
        return 0.0
    return float(np.exp(-((answer.value - mos) ** 2) / (2 * sigma**2)))


def rank_score_rewards(scores: np.ndarray, mos: np.ndarray, datasets: Sequence[str]) -> np.ndarray:
    """Order and distance together, after PreResQ-R1 (arXiv:2511.05393); mean over partners j of

    √(c · s),  c = 1 where q_k(x_i) is on the right side of μ(q(x_j)), else 0,
    s = |MOS_i − MOS_j| / (|MOS_i − MOS_j| + |q_k(x_i) − MOS_i| + |μ(q(x_j)) − MOS_j|)

    This is the pair term of the authors' released code, which we read; the paper's equations were
    not at hand. We leave out: its second root, √((1 − c)(1 − s)), which pays a wrong order more the
    further off the scores are; its matching of completions by rank, for which μ stands here as in
    RL2R; its terms for triplets and for five scores in one answer.

    Args:
        scores: predicted, [B, K], on the scale of `mos`; NaN where a completion was not parsed.
        mos: human scores, [B]. datasets: each picture's data set.

    Returns:
        Rewards [B, K], 0–1. NaN for a picture without a partner of another MOS; 0 for a completion
        that could not be parsed.
    """
    rewards = np.full(scores.shape, np.nan)
    parsed = [row[~np.isnan(row)] for row in scores]
    for i, own in enumerate(scores):
        terms = []
        for j, others in enumerate(parsed):
            apart = mos[i] - mos[j]
            if datasets[i] != datasets[j] or not len(others) or apart == 0:
                continue
            mean = others.mean()
            right = np.sign(own - mean) == np.sign(apart)
            off = np.abs(own - mos[i]) + abs(mean - mos[j])
            terms.append(np.where(right, np.sqrt(abs(apart) / (abs(apart) + off)), 0.0))
        if terms:
            rewards[i] = np.where(np.isnan(own), 0.0, np.mean(terms, axis=0))
    return rewards
