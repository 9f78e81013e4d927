"""Does `rali compare` know how sure it is? The built-in model on pairs of BIQ2021's `test`.

    python benchmarks/compare.py --data DIR

The interval that ships was calibrated on `val`; the model saw no picture of either. Every pair of
`test` pictures whose human scores differ is put to it, and the probability that it states is held
against how often people's better picture was the higher-scored one. Writes benchmarks/compare.md.
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import numpy as np

from rali.data.importers import biq2021
from rali.evaluation.evaluate import predict
from rali.scoring.compare import probability_better
from rali.scoring.intervals import read_interval

EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
RESAMPLES = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    rows = [r for r in biq2021.read(parser.parse_args().data / "biq2021") if r.split == "test"]
    scores = predict("builtin", [row.image for row in rows])
    predicted = np.array([scores[row.image] for row in rows])
    mos = np.array([row.score for row in rows], dtype=float)
    names = [row.content or str(row.image) for row in rows]
    scenes, scene = np.unique(names, return_inverse=True)
    one, two = np.triu_indices(len(rows), 1)
    kept = mos[one] != mos[two]
    one, two = one[kept], two[kept]
    gap = predicted[one] - predicted[two]
    right = (gap > 0) == (mos[one] > mos[two])
    same = scene[one] == scene[two]
    interval = read_interval("builtin")
    grid = np.linspace(0, 4, 2001)
    stated = np.interp(np.abs(gap), grid, [probability_better(interval, d) for d in grid])
    place = np.clip(np.digitize(stated, EDGES) - 1, 0, len(EDGES) - 2)
    bins = len(EDGES) - 1
    resampled = []  # by scene, as pairs that share a picture are not independent
    for seed in range(RESAMPLES):
        drawn = np.random.default_rng(seed).integers(0, len(scenes), len(scenes))
        times = np.bincount(drawn, minlength=len(scenes))
        weight = times[scene[one]] * np.where(same, 1, times[scene[two]])
        total = np.bincount(place, weight, bins)
        resampled.append(np.bincount(place, weight * right, bins) / np.maximum(total, 1e-9))
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    table = ""
    for number in range(bins):
        mine = place == number
        if not mine.any():
            continue
        table += (
            f"| {EDGES[number]:.0%}–{EDGES[number + 1]:.0%} | {np.abs(gap[mine]).min():.2f}–"
            f"{np.abs(gap[mine]).max():.2f} | {mine.sum():,} | {stated[mine].mean():.1%} | "
            f"{right[mine].mean():.1%} | {low[number]:.1%}–{high[number]:.1%} |\n"
        )
    text = (
        "# How sure a comparison is\n\n"
        f"`python benchmarks/compare.py --data DIR`: {platform.machine()}, Python "
        f"{platform.python_version()}; the built-in model, all {len(one):,} pairs of the "
        f"{len(rows)} pictures ({len(scenes)} scenes) of BIQ2021's `test` whose human scores "
        f"differ; {RESAMPLES} resamples by scene, seeds 0 to {RESAMPLES - 1}. The probability "
        "follows from the errors on `val`.\n\n"
        "| stated probability | score difference | pairs | stated, mean | people agree | 95 % "
        "interval |\n| --- | --- | ---: | ---: | ---: | ---: |\n"
        f"{table}\n"
        f"Over all pairs: stated {stated.mean():.1%}, people agree {right.mean():.1%}. "
        f"The {same.sum():,} pairs of one scene: stated {stated[same].mean():.1%}, people agree "
        f'{right[same].mean():.1%}. "People" are mean opinion scores, not votes on pairs; of '
        "pictures unlike BIQ2021's photographs it promises nothing.\n"
    )
    (Path(__file__).parent / "compare.md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
