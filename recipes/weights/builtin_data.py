"""The built-in student's training data: three manifests and their pictures.

    python recipes/weights/builtin_data.py --data DIR -o OUT

DIR holds `biq2021/` and `pristine/`. OUT gets biq2021.csv (human scores), degraded.csv (twelve
degradations of gb82's, CLIC's and Unsplash's photographs, and of the best of BIQ2021's train
photographs; KADID-10k's mean human scores, shrunk to end at the photograph's own score in BIQ2021's
scale, where people rarely give more than 4.3) and patterns.csv (what no camera takes: score 1).
Kodak's photographs are held out.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from rali.data.degraded import degrade_folder
from rali.data.importers import biq2021
from rali.data.manifest import Row, write_manifest
from rali.data.splits import assign_splits
from rali.distill.learn_phrases import best_photographs
from rali.pictures.patterns import non_photographs

SIZE = 512
PER_PHOTOGRAPH = {"pristine": 12, "biq2021": 5}
BEST = 250  # photographs of BIQ2021
EXCELLENT = 4.3  # what a pristine photograph would get in BIQ2021
PATTERN_SEEDS = range(1, 7)  # `rali probe` draws its noise and text with seed 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    labelled = list(biq2021.read(arguments.data / "biq2021"))
    write_manifest(labelled, output / "biq2021.csv")
    write_manifest(degraded(arguments.data, labelled, output), output / "degraded.csv")
    write_manifest(patterns(output / "patterns"), output / "patterns.csv")


def degraded(data: Path, labelled: list[Row], output: Path) -> list[Row]:
    """Degraded pictures: the pristine ones split 85:15 into train and val, BIQ2021's all train."""
    pristine = [p for p in sorted((data / "pristine").glob("*.jpg")) if "kodak" not in p.name]
    rows = degrade_folder(
        pristine, output / "pristine", size=SIZE, per_photograph=PER_PHOTOGRAPH["pristine"]
    )
    rows = [worth(row, EXCELLENT) for row in assign_splits(rows, (85, 15, 0))]
    train = [row for row in labelled if row.split == "train"]
    score_of = {row.image: row.score or 0.0 for row in train}
    each = best_photographs(train, len(train))
    best = sorted(each, key=lambda path: -score_of[path])[:BEST]
    best_score = {path.stem: score_of[path] for path in best}
    for row in degrade_folder(
        best, output / "biq2021", size=SIZE, per_photograph=PER_PHOTOGRAPH["biq2021"]
    ):
        rows.append(dataclasses.replace(worth(row, best_score[row.content]), split="train"))
    return rows


def worth(row: Row, undegraded: float) -> Row:
    """The row with the score of its degradation, if the photograph itself has `undegraded`."""
    share = ((row.score or 1.0) - 1) / 4
    return dataclasses.replace(row, score=round(1 + share * (undegraded - 1), 4), raw_score=None)


def patterns(folder: Path) -> list[Row]:
    """Each pattern with several seeds, in other colours, at another scale and place."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in PATTERN_SEEDS:
        generator = np.random.default_rng(seed)
        for kind, pictures in non_photographs(seed, SIZE).items():
            for number, picture in enumerate(pictures):
                scale = int(generator.integers(1, 4)) if "noise" not in kind else 1
                made = np.roll(picture, generator.integers(0, SIZE, 2), (0, 1))
                made = made.repeat(scale, 0).repeat(scale, 1)[:SIZE, :SIZE] / 255
                if generator.random() < 0.6:  # between two colours in place of black and white
                    low, high = generator.random((2, 3))
                    made = low + (high - low) * made
                content = f"{kind.replace(' ', '-')}-{number}-{seed}"
                path = folder / f"{content}.png"
                Image.fromarray(np.rint(made * 255).astype(np.uint8)).save(path)
                split = "val" if seed == PATTERN_SEEDS[-1] else "train"
                rows.append(Row(path, score=1.0, dataset="patterns", content=content, split=split))
    return rows


if __name__ == "__main__":
    main()
