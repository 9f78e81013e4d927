"""The quickstart's settings on other photographs: how far its number depends on its own three.

    python benchmarks/quickstart_kodak.py --data DIR

Five of Kodak's photographs, which nano never saw, to distil on and ten to evaluate on, drawn anew
for each seed and degraded as the quickstart does it. Writes benchmarks/quickstart_kodak.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import tempfile
from pathlib import Path

import numpy as np
import torch

from rali.cli._quickstart import CONFIG, RATIONALES, SIZE
from rali.data.degraded import degrade_folder
from rali.data.reference_rationales import build_reference_triplets
from rali.data.triplets import read_triplets
from rali.distill.pipeline import distill
from rali.metrics import plcc, srcc
from rali.version import __version__

SEEDS = (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        photographs = sorted((arguments.data / "pristine").glob("kodak*.jpg"))
        rows = degrade_folder(photographs, work / "pictures", size=SIZE)
        build_reference_triplets(rows, work / "triplets", count=RATIONALES)
        triplets = read_triplets(work / "triplets")
        contents = sorted({row.content for row in rows})
        for seed in SEEDS:
            order = np.random.default_rng(seed).permutation(contents).tolist()
            split = dict.fromkeys(order[:5], "train") | dict.fromkeys(order[5:15], "test")
            mine = [
                dataclasses.replace(row, split=split[row.content])
                for row in rows
                if row.content in split
            ]
            config = dataclasses.replace(CONFIG, seed=seed)
            student = distill(config, mine, triplets, work / f"run-{seed}")
            assert student is not None
            test = [row for row in mine if row.split == "test"]
            scores, truth = student.score([r.image for r in test]), [r.score for r in test]
            found.append((srcc(scores, truth), plcc(scores, truth)))
            print(seed, found[-1], flush=True)
    mean, spread = np.mean(found, 0), np.std(found, 0, ddof=1)
    text = (
        "# The quickstart's settings on Kodak's photographs\n\n"
        f"`python benchmarks/quickstart_kodak.py --data DIR`: {platform.machine()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}, "
        f"rali {__version__}. Five photographs to distil on, ten to evaluate on, 61 versions of "
        "each.\n\n| seed | SRCC | PLCC |\n| --- | ---: | ---: |\n"
    )
    text += "".join(
        f"| {s} | {a:.3f} | {b:.3f} |\n" for s, (a, b) in zip(SEEDS, found, strict=True)
    )
    text += f"| mean ± sd | {mean[0]:.3f} ± {spread[0]:.3f} | {mean[1]:.3f} ± {spread[1]:.3f} |\n"
    Path(__file__).with_suffix(".md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
