"""Does a calibrated interval keep its promise? The built-in model on BIQ2021 and on PCUID.

    python benchmarks/intervals.py --data DIR

The model was trained on no picture of BIQ2021's `val` and `test`. They are split by scene into two
halves, 200 times. One half calibrates; on the other, the share of human scores inside the 90 %
interval is measured. The interval that ships is then put to PCUID's underwater photographs, which
are unlike what it was calibrated on. Writes benchmarks/intervals.md.
"""

from __future__ import annotations

import argparse
import csv
import platform
from pathlib import Path

import numpy as np

from rali import Scorer
from rali.data.importers import biq2021
from rali.evaluation.evaluate import predict
from rali.scoring.intervals import calibrate, read_interval

LEVEL, RESPLITS = 0.9, 200


def elsewhere(data: Path) -> float:
    """The share of PCUID's human scores inside the 90 % interval of the built-in."""
    scorer, interval = Scorer(), read_interval("builtin")
    with (data / "pcuid" / "index.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    predicted = scorer([data / "pcuid" / "images" / line["image"] for line in lines])
    mos = np.array([1 + float(line["mos"]) / 25 for line in lines])
    low, high = np.array([interval.around(p, LEVEL) for p in predicted]).T
    return float(np.mean((low <= mos) & (mos <= high)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    rows = [r for r in biq2021.read(arguments.data / "biq2021") if r.split in ("val", "test")]
    scores = predict("builtin", [row.image for row in rows])
    predicted = np.array([scores[row.image] for row in rows])
    mos = np.array([row.score for row in rows], dtype=float)
    scenes = sorted({row.content or str(row.image) for row in rows})
    of = np.array([scenes.index(row.content or str(row.image)) for row in rows])
    coverages, radii = [], []
    for seed in range(RESPLITS):
        half = np.random.default_rng(seed).permutation(len(scenes)) < len(scenes) // 2
        one = half[of]
        interval = calibrate(list(predicted[one]), list(mos[one]))
        low, high = np.array([interval.around(p, LEVEL) for p in predicted[~one]]).T
        coverages.append(float(np.mean((low <= mos[~one]) & (mos[~one] <= high))))
        radii.append(interval.radius(LEVEL))
    text = (
        "# Coverage of calibrated intervals\n\n"
        f"`python benchmarks/intervals.py --data DIR`: {platform.machine()}, Python "
        f"{platform.python_version()}; the built-in model, {len(rows)} pictures of {len(scenes)} "
        f"scenes of BIQ2021's `val` and `test`, {RESPLITS} re-splits by scene, seeds 0 to "
        f"{RESPLITS - 1}.\n\n"
        "| nominal | mean coverage (bar: 88.5–91.5 %) | 5th–95th percentile | mean radius |\n"
        "| ---: | ---: | ---: | ---: |\n"
        f"| {LEVEL:.0%} | {np.mean(coverages):.1%} | {np.quantile(coverages, 0.05):.1%}–"
        f"{np.quantile(coverages, 0.95):.1%} | {np.mean(radii):.2f} |\n\n"
        f"The interval that ships holds {elsewhere(arguments.data):.1%} of the human scores of "
        "PCUID's 297 underwater photographs: it promises nothing of pictures unlike those that it "
        "was calibrated on.\n"
    )
    (Path(__file__).parent / "intervals.md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
