"""Q-Insight's verifiable rewards (§3.3): a parsed answer against its label.

Each takes an answer as `completions.parse` returns it, and gives 0 for a failure. The format reward
is `completions.format_reward`; RL2R's rewards, which also need other pictures' answers, are in
`rl2r`.
"""

from __future__ import annotations

from .answers import Answer, Comparison, Degradation, Score


def score_reward(answer: Answer, mos: float, threshold: float = 0.35) -> float:
    """1 if |prediction − MOS| < threshold, else 0; Eq. 3. Both on the prompt's scale."""
    return float(isinstance(answer, Score) and abs(answer.value - mos) < threshold)


def class_reward(answer: Answer, distortion: str) -> float:
    """1 if the class of distortion (a canonical name or `null`) is right, else 0; Eq. 4."""
    return float(isinstance(answer, Degradation) and answer.distortion == distortion)


def level_reward(answer: Answer, distortion: str, severity: int) -> float:
    """1 if class and severity (0–5, 0 for `null`) are both right, else 0; Eq. 5."""
    right = isinstance(answer, Degradation) and answer.severity == severity
    return class_reward(answer, distortion) if right else 0.0


def degradation_reward(
    answer: Answer,
    distortion: str,
    severity: int,
    class_weight: float = 0.25,
    level_weight: float = 0.75,
) -> float:
    """α₁ · class + α₂ · level; the degradation part of Eq. 6."""
    return class_weight * class_reward(answer, distortion) + level_weight * level_reward(
        answer, distortion, severity
    )


def comparison_reward(answer: Answer, result: str) -> float:
    """1 if the choice (`A`, `B`, `similar`) is right, else 0; Q-Insight, appendix C."""
    return float(isinstance(answer, Comparison) and answer.choice == result)
