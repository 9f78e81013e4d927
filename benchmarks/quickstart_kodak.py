"""The quickstart's settings on other photographs, with reference and with harvested rationales.

    python benchmarks/quickstart_kodak.py --data DIR [--teacher nano --teacher FOLDER ...] [-o RUN]

Five of Kodak's photographs, which nano never saw, to distil on and ten to evaluate on, drawn anew
for each seed and degraded as the quickstart does it. The same students are distilled once with
reference rationales, and once for each teacher with as many that it wrote. Harvests are kept in
RUN, and a stopped call resumes them. Writes benchmarks/quickstart_kodak.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rali.cli._quickstart import CONFIG, RATIONALES, SIZE, harvest_rationales
from rali.data.degraded import degrade_folder
from rali.data.manifest import Row
from rali.data.reference_rationales import build_reference_triplets
from rali.data.triplets import Triplet, read_triplets
from rali.distill.pipeline import distill
from rali.metrics import plcc, srcc
from rali.runs.progress import Progress, StageProgress, renamed
from rali.version import __version__

SEEDS = (0, 1, 2)


def rationales(source: str, rows: Sequence[Row], folder: Path, progress: Progress) -> list[Triplet]:
    """`RATIONALES` texts about each picture: the reference ones, or a teacher's."""
    if source != "reference":
        return harvest_rationales(source, rows, folder, progress)[0]
    build_reference_triplets(rows, folder, count=RATIONALES)
    return read_triplets(folder)


def measure(source: str, rows: Sequence[Row], run: Path, progress: Progress) -> np.ndarray:
    """SRCC and PLCC of a student for each seed, [seeds, 2]."""
    contents = sorted({row.content for row in rows})
    found = []
    for seed in SEEDS:
        order = np.random.default_rng(seed).permutation(contents).tolist()
        split = dict.fromkeys(order[:5], "train") | dict.fromkeys(order[5:15], "test")
        mine = [
            dataclasses.replace(row, split=split[row.content])
            for row in rows
            if row.content in split
        ]
        name = Path(source).parent.name or source
        train = [row for row in mine if row.split == "train"]
        triplets = rationales(source, train, run / f"{name}-{seed}-triplets", progress)
        config = dataclasses.replace(CONFIG, seed=seed)
        student = distill(config, mine, triplets, run / f"{name}-{seed}", progress=progress)
        assert student is not None
        test = [row for row in mine if row.split == "test"]
        scores, truth = student.score([r.image for r in test]), [r.score for r in test]
        found.append((srcc(scores, truth), plcc(scores, truth)))
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", action="append", default=[])
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/quickstart-kodak"))
    arguments = parser.parse_args()
    photographs = sorted((arguments.data / "pristine").glob("kodak*.jpg"))
    sources = ["reference", *(arguments.teacher or ["nano"])]
    with StageProgress() as progress:
        rows = degrade_folder(
            photographs, arguments.output / "pictures", size=SIZE,
            progress=renamed(progress, "degrade"),
        )  # fmt: skip
        found = {source: measure(source, rows, arguments.output, progress) for source in sources}
    names = [
        "after RL2R" if "/" in source else {"nano": "nano's"}.get(source, source)
        for source in sources
    ]
    text = (
        "# The quickstart's settings on Kodak's photographs\n\n"
        f"`python benchmarks/quickstart_kodak.py --data DIR`: {platform.machine()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}, "
        f"rali {__version__}. Five photographs to distil on, ten to evaluate on, 61 versions of "
        f"each, {RATIONALES} rationales of each version. SRCC / PLCC:\n\n"
        f"| rationales | {' | '.join(f'seed {s}' for s in SEEDS)} | mean ± sd | SRCC beside "
        f"reference |\n| --- |{' ---: |' * (len(SEEDS) + 2)}\n"
    )
    for name, values in zip(names, found.values(), strict=True):
        (a, b), (c, d) = values.mean(0), values.std(0, ddof=1)
        beside = values[:, 0] - found["reference"][:, 0]
        text += (
            f"| {name} | {' | '.join(f'{x:.3f} / {y:.3f}' for x, y in values)} | "
            f"{a:.3f} ± {c:.3f} / {b:.3f} ± {d:.3f} | {beside.mean():+.3f} ± "
            f"{beside.std(ddof=1):.3f} |\n"
        )
    Path(__file__).with_suffix(".md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
