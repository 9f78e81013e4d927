"""Derive rali/kadid_scores.json: the score of each degradation at each severity.

The mean human score (1–5, higher is better) of KADID-10k's nearest distortion type at the same
level, over all reference pictures.

KADID's contrast change (type 25) runs through both directions: its third level is next to no
change and scores best, the means fall towards level 1 on one side and towards level 5 on the
other. Levels 3, 2, 1 strengthen and 3, 4, 5 weaken: public ports of KADID's generator give its
amounts as 0.3, 0.15, 0, −0.4, −0.6. Each three means are spread evenly over five severities.
Means that rise with severity would be levelled by isotonic regression, so that a heavier
degradation never scores higher; none do.

    python benchmarks/kadid_scores.py --data DIR      (DIR/score_files/KADID-10K_*_set.txt)
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
from sklearn.isotonic import IsotonicRegression

TYPES = {
    "blur": 1,
    "noise": 11,
    "compression": 10,
    "brighten": 16,
    "darken": 17,
    "contrast strengthen": 25,
    "contrast weaken": 25,
    "saturate strengthen": 8,
    "saturate weaken": 7,
    "oversharpen": 24,
    "pixelate": 21,
    "quantize": 22,
}

SIDES = {"contrast strengthen": (3, 2, 1), "contrast weaken": (3, 4, 5)}


DERIVATION = (
    "Mean human score of KADID-10k's nearest distortion type at the same level, per severity 1-5; "
    "null is 5 by convention. Written by benchmarks/kadid_scores.py, which says how."
)


def table(data: Path) -> dict[str, list[float] | float | str]:
    scores = defaultdict(list)
    for name in ("KADID-10K_train_set.txt", "KADID-10K_test_set.txt"):
        for line in (data / "score_files" / name).read_text().splitlines():
            _, picture, score, *_ = line.split()
            found = re.search(r"_(\d\d)_(\d\d)\.", picture)
            if found:
                scores[int(found[1]), int(found[2])].append(float(score))
    result: dict[str, list[float] | float | str] = {"derivation": DERIVATION, "null": 5.0}
    for name, number in TYPES.items():
        means = [float(np.mean(scores[number, level])) for level in range(1, 6)]
        if name in SIDES:
            anchors = [means[level - 1] for level in SIDES[name]]
            means = list(np.interp(range(5), [0, 2, 4], anchors))
        level = IsotonicRegression(increasing=False).fit_transform(range(5), means)
        print(f"{name:20s}", *(f"{m:.3f}" for m in means), "→", *(f"{m:.3f}" for m in level))
        result[name] = [round(float(value), 3) for value in level]
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    target = Path(__file__).parent.parent / "rali" / "kadid_scores.json"
    target.write_text(json.dumps(table(parser.parse_args().data), indent=1) + "\n")
