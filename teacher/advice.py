"""What to try where a training goes nowhere, read from what it logged.

In: the rows of metrics.jsonl. Out: sentences, each once there is reason for it. The first two are
what went wrong in a public reproduction of Q-Insight (its issue 10): a format reward that stayed
near 0.5, where the authors' own reached 1 within 30 steps, and a PLCC of 0.8 instead of 0.93.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

STEPS = 30  # within so many the authors' format reward is 1
LOOKS = 4  # validations before their correlation is called flat
RISE = 0.02


def advice(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """{what it is about: a sentence that says what is wrong and what to try}.

    Args:
        rows: as `RunFolder.metrics` gives them.
    """
    found = {}
    trained = [row for row in rows if "reward" in row]
    for name in dict.fromkeys(key for row in trained for key in row):
        of_format = name.startswith("rewards/format") and name.endswith("/mean")
        if of_format and (sentence := _stuck_format(trained, name)):
            found[name] = sentence
    if sentence := _no_spread(trained):
        found["spread"] = sentence
    stages = dict.fromkeys(row["stage"] for row in rows if row["stage"].startswith("validate/"))
    for stage in stages:
        if sentence := _flat([row for row in rows if row["stage"] == stage]):
            found[stage] = sentence
    return found


def _last(rows: Sequence[Mapping[str, Any]], name: str, count: int = STEPS) -> np.ndarray:
    return np.array([row[name] for row in rows if row.get(name) is not None][-count:], dtype=float)


def _stuck_format(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    values = _last(rows, name)
    if len(values) < STEPS:
        return ""
    early, late = values[: STEPS // 2].mean(), values[STEPS // 2 :].mean()
    if late > 0.9 or late - early > RISE:
        return ""
    cut = _last(rows, "completions/clipped_ratio")
    tries = ["look at probes.jsonl for what stands where the form wants something else"]
    if len(cut) and cut.mean() > 0.05:
        tries.append(f"raise max_completion_length, as {cut.mean():.0%} of the texts are cut off")
    tries += ["loosen the task's `format`", "or give the format reward more weight"]
    return (
        f"The format reward has stayed at {late:.2f} for {STEPS} logged steps; it should be near 1 "
        f"by now, and a text of the wrong form often earns nothing else. Try: {', '.join(tries)}."
    )


def _no_spread(rows: Sequence[Mapping[str, Any]]) -> str:
    values = _last(rows, "frac_reward_zero_std")
    if len(values) < STEPS or values.mean() < 0.8:
        return ""
    return (
        f"In {values.mean():.0%} of the groups of the last {STEPS} logged steps all completions "
        "earned the same, so nothing is learned from them. Try: more num_generations, a higher "
        "temperature, or a smoother reward (gaussian, soft, rl2r)."
    )


def _flat(rows: Sequence[Mapping[str, Any]]) -> str:
    values = _last(rows, "plcc", len(rows))
    if len(values) < LOOKS or max(values[1:]) - values[0] > RISE:
        return ""
    return (
        f"{rows[0]['stage']}: the PLCC was {values[0]:.2f} before the training and is "
        f"{values[-1]:.2f} after {rows[-1]['step']:,} steps. Try: a higher lr, a smaller beta, "
        "vision: true; and check the format reward and the share of parsed texts."
    )
