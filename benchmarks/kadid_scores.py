"""Derive rali/data/kadid_scores.json: the score of each degradation at each severity.

A score is KADID-10k's mean human score (1–5, higher is better) of the nearest distortion type over
all reference pictures, interpolated linearly between the strengths of its levels at the strength of
our severity. KADID's strengths are those of its published generator.

Levels that change nothing are the weak end of every scale: KADID's raters gave blur of σ 0.1 and
saturation ×1 a mean of 4.67. Contrast change (type 25) runs through both directions: amounts 0.3,
0.15, 0, −0.4, −0.6, of which −0.2 is the straight line.

    python benchmarks/kadid_scores.py --data DIR      (DIR/score_files/KADID-10K_*_set.txt)
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from rali.pictures.degrade import STRENGTHS

# Per degradation: KADID's type, and its levels' strengths on the scale of ours.
LEVELS: dict[str, tuple[int, dict[int, float]]] = {
    "blur": (1, {1: 0.1, 2: 0.5, 3: 1, 4: 2, 5: 5}),
    "noise": (11, {1: 8, 2: 11.4, 3: 14, 4: 18, 5: 25.5}),
    "compression": (10, {1: 43, 2: 36, 3: 24, 4: 7, 5: 4}),
    "brighten": (16, {1: 0.1, 2: 0.2, 3: 0.4, 4: 0.7, 5: 1.1}),
    "darken": (17, {1: 0.05, 2: 0.1, 3: 0.2, 4: 0.4, 5: 0.8}),
    "contrast strengthen": (25, {3: 0.2, 2: 0.35, 1: 0.5}),
    "contrast weaken": (25, {4: 0.2, 5: 0.4}),
    "saturate strengthen": (8, {1: 1, 2: 2, 3: 3, 4: 6, 5: 9}),
    "saturate weaken": (7, {1: 0.4, 2: 0.2, 3: 0.1, 4: 0}),
    "oversharpen": (24, {1: 1, 2: 2, 3: 3, 4: 6, 5: 12}),
    "pixelate": (21, {1: 1.13, 2: 1.28, 3: 1.43, 4: 1.76, 5: 3.45}),
    "quantize": (22, {1: 20, 2: 16, 3: 13, 4: 10, 5: 7}),
}
UNCHANGED = {"contrast strengthen": 0.0, "contrast weaken": 0.0, "saturate weaken": 1.0}
NO_CHANGE = ((1, 1), (8, 1))  # type and level of blur σ 0.1 and saturation ×1

DERIVATION = (
    "Mean human score of KADID-10k's nearest distortion type at our strength, per severity 1-5; "
    "null is 5 by convention. Written by benchmarks/kadid_scores.py, which says how."
)


def table(data: Path) -> dict[str, list[float] | float | str]:
    """The content of kadid_scores.json; `data` holds score_files/."""
    ratings = defaultdict(list)
    for name in ("KADID-10K_train_set.txt", "KADID-10K_test_set.txt"):
        for line in (data / "score_files" / name).read_text().splitlines():
            _, picture, score, *_ = line.split()
            found = re.search(r"_(\d\d)_(\d\d)\.", picture)
            if found:
                ratings[int(found[1]), int(found[2])].append(float(score))
    means = {key: float(np.mean(values)) for key, values in ratings.items()}
    no_change = float(np.mean([means[key] for key in NO_CHANGE]))
    result: dict[str, list[float] | float | str] = {"derivation": DERIVATION, "null": 5.0}
    for name, (kind, levels) in LEVELS.items():
        rated = [(strength, means[kind, level]) for level, strength in levels.items()]
        if name in UNCHANGED:
            rated.append((UNCHANGED[name], no_change))
        x, y = zip(*sorted(rated), strict=True)
        scores = np.interp(STRENGTHS[name], x, y)
        print(f"{name:20s}", *(f"{strength}:{score:.3f}" for strength, score in rated))
        print(" " * 20, *(f"{score:.3f}" for score in scores))
        result[name] = [round(float(score), 3) for score in scores]
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    target = Path(__file__).parent.parent / "rali" / "data" / "kadid_scores.json"
    target.write_text(json.dumps(table(parser.parse_args().data), indent=1) + "\n")
