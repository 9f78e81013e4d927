"""What a sweep shows beyond the noise of its seeds: a paper's orders, and what beats a baseline.

In: the values of every case and seed, and the paper's. Out: one sentence for each metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np

LEVEL = 0.95


def difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """Mean of first − second over seeds, and its 95 % interval by Student's t.

    Args:
        first, second: a value per seed, two at least, of the same seeds in the same order, so that
            what a seed does to both cases cancels.

    Returns:
        Mean, low and high. Only seeds are resampled, not the test's pictures, which are the same.
    """
    from scipy.stats import t

    values = np.subtract(first, second)
    half = t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    mean = float(values.mean())
    return mean, mean - float(half), mean + float(half)


def order_notes(
    found: Mapping[str, Mapping[str, Sequence[float]]],
    published: Mapping[str, Mapping[str, float]],
    metrics: Mapping[str, str],
    seeds: int,
) -> list[str]:
    """Of each metric, which of the paper's orders are shown, contradicted, or within the noise.

    Orders of a case that has no value of a seed (NaN) are counted by themselves.

    Args:
        found: {case: {metric: [a value per seed]}}. published: {case: {metric: value}}.
        metrics: {metric: its title}.
    """
    notes = []
    for metric, title in metrics.items():
        values = {case: own[metric] for case, own in found.items() if len(own[metric]) == seeds}
        paper = {case: own[metric] for case, own in published.items() if metric in own}
        pairs = [
            (first, second)
            for first, second in permutations([case for case in paper if case in values], 2)
            if paper[first] > paper[second]
        ]
        if not pairs:
            continue
        if seeds < 2:
            return ["One seed shows no order: which differences are noise is not known."]
        told: dict[str, list[str]] = {"shown": [], "the other way round": []}
        unknown = {case for case, own in values.items() if not np.isfinite(own).all()}
        known = [pair for pair in pairs if not unknown & set(pair)]
        for first, second in known:
            mean, low, high = difference(values[first], values[second])
            if low > 0 or high < 0:
                way = "shown" if low > 0 else "the other way round"
                told[way].append(f"{first} > {second} ({mean:+.3f} [{low:+.3f}, {high:+.3f}])")
        noise = len(known) - sum(map(len, told.values()))
        parts = [f"{way} {len(some)}: {'; '.join(some)}" for way, some in told.items() if some]
        parts.append(f"within the noise of {seeds} seeds {noise}")
        if left := len(pairs) - len(known):
            named = ", ".join(case for case in values if case in unknown)
            parts.append(f"not known {left}, as a seed of {named} has no value")
        notes.append(
            f"{title}, orders of the paper ({len(pairs)}): {'; '.join(parts)}. 95 % intervals over "
            "seeds."
        )
    return notes


def baseline_notes(
    found: Mapping[str, Mapping[str, Sequence[float]]],
    baseline: str,
    metrics: Mapping[str, str],
    seeds: int,
) -> list[str]:
    """Of each metric, by how much every other case differs from the baseline.

    A case that lacks a seed, or has no value of one (NaN), is left out.

    Args:
        found, metrics: as for `order_notes`. baseline: the name of a case.
    """
    notes = []
    for metric, title in metrics.items():
        values = {
            case: own[metric]
            for case, own in found.items()
            if len(own[metric]) == seeds > 1 and np.isfinite(own[metric]).all()
        }
        start = values.pop(baseline, None)
        if start is None or not values:
            continue
        each = []
        for case, own in values.items():
            mean, low, high = difference(own, start)
            each.append(f"{case} {mean:+.3f} [{low:+.3f}, {high:+.3f}]")
        notes.append(f"{title}, less {baseline}: {'; '.join(each)}.")
    return notes
