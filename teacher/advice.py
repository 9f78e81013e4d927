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
LOOKS = 4  # validations before their correlation is called flat or falling
CHANGE = 0.02  # of a mean or a correlation; less is no rise
FALL = 0.05  # of a PLCC: two standard errors of one near 0.8 over 200 pictures, as watch takes


def advice(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """{what it is about: a sentence that says what is wrong and what to try}.

    Args:
        rows: as `RunFolder.metrics` gives them.
    """
    found = {}
    trained = [row for row in rows if "reward" in row]
    for name in dict.fromkeys(key for row in trained for key in row):
        part = name.removeprefix("rewards/").removesuffix("/mean")
        of_format = name == f"rewards/{part}/mean" and part.partition("*")[0] == "format"
        if part.endswith("*0"):  # it is logged alone, without a weight
            continue
        if of_format and (sentence := _stuck_format(trained, name)):
            found[name] = sentence
    if sentence := _no_spread(trained):
        found["spread"] = sentence
    stages = dict.fromkeys(row["stage"] for row in rows if row["stage"].startswith("validate/"))
    for stage in stages:
        looks = [row for row in rows if row["stage"] == stage and row.get("plcc") is not None]
        if len(looks) >= LOOKS and (sentence := _course(looks, rewarded=bool(trained))):
            found[stage] = sentence
    return found


def _last(rows: Sequence[Mapping[str, Any]], name: str, count: int = STEPS) -> np.ndarray:
    return np.array([row[name] for row in rows if row.get(name) is not None][-count:], dtype=float)


def _stuck_format(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    values = _last(rows, name)
    if len(values) < STEPS:
        return ""
    early, late = values[: STEPS // 2].mean(), values[STEPS // 2 :].mean()
    if late > 0.9 or late - early > CHANGE:
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


def _course(looks: Sequence[Mapping[str, Any]], *, rewarded: bool) -> str:
    """What to try where the PLCC has fallen from its highest, or has never risen.

    Args:
        rewarded: whether the training has rewards, and so settings that a fine-tuning lacks.
    """
    stage, last = looks[0]["stage"], looks[-1]
    best = max(looks, key=lambda row: row["plcc"])
    fallen = best["plcc"] - max(row["plcc"] for row in looks[-2:])
    if fallen > FALL:
        tries = ["a smaller lr", *(["a larger beta"] if rewarded else [])]
        if best["step"]:
            unless = ", unless lr_schedule is constant" if rewarded else ""
            tries.append(
                f"a training that ends there (trl.max_steps={best['step']}, with which the lr "
                f"falls faster{unless})"
            )
        return (
            f"{stage}: the PLCC was {best['plcc']:.2f} at step {best['step']:,} and has fallen to "
            f"{last['plcc']:.2f} at step {last['step']:,}. Try: {', '.join(tries)}."
        )
    if max(row["plcc"] for row in looks[1:]) - looks[0]["plcc"] > CHANGE:
        return ""
    rate = "another lr" if fallen > CHANGE else "a higher lr"
    more = "a smaller beta, vision: true" if rewarded else "more epochs"
    checked = "the format reward and the share of parsed texts" if rewarded else "the probes' texts"
    return (
        f"{stage}: the PLCC was {looks[0]['plcc']:.2f} before the training and is "
        f"{last['plcc']:.2f} after {last['step']:,} steps. Try: {rate}, {more}; and "
        f"check {checked}."
    )
