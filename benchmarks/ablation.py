"""RALI's Table 4 on nano and BIQ2021: six cases, several seeds, mean ± standard deviation.

    python benchmarks/ablation.py --data DIR -o runs/ablation [--harvested TRIPLETS]

Cases 7 and 8 are 6 and 4 with the rationales of a teacher: triplets harvested on the train split.
Writes benchmarks/ablation.md. Runs are kept under the output folder; a stopped call goes on.
Cases 2, 3, 5 and 6 share one alignment per seed, as they differ only behind it.
"""

from __future__ import annotations

import argparse
import dataclasses
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rali import Student
from rali.config import from_dict, read_yaml
from rali.distill import DistillConfig, distill, training_rows
from rali.evaluate import evaluate_predictions
from rali.images import PictureBatches, embed
from rali.importers import biq2021
from rali.manifest import Row
from rali.progress import StageProgress
from rali.reference import build_reference_triplets, requested_triplets
from rali.triplets import read_triplets

ROOT = Path(__file__).parent.parent
COLUMNS = (
    "rationales", "alignment", "PCA", "bucketed k-means", "seed augmentation", "score definition",
)  # fmt: skip
CASES: dict[int, dict[str, dict[str, Any]]] = {
    1: {"align": {"enabled": False}},
    2: {"compress": {"enabled": False}},
    3: {"bases": {"bucketed": False}},
    4: {"align": {"seeds_used": 1}},
    5: {"fit": {"enabled": False}},
    6: {},
    7: {},
    8: {"align": {"seeds_used": 1}},
}
HARVESTED = (7, 8)
RUNS = {1: "plain", 4: "one-seed", 7: "harvested", 8: "harvested-one-seed"}  # others: aligned
MARKS = {
    1: "✗ ✓ ✓ ✗ ✓", 2: "✓ ✗ ✓ ✓ ✓", 3: "✓ ✓ ✗ ✓ ✓", 4: "✓ ✓ ✓ ✗ ✓", 5: "✓ ✓ ✓ ✓ ✗",
    6: "✓ ✓ ✓ ✓ ✓", 7: "✓ ✓ ✓ ✓ ✓", 8: "✓ ✓ ✓ ✗ ✓",
}  # fmt: skip


def case_config(base: dict[str, Any], case: int, seed: int, epochs: float) -> DistillConfig:
    values = {key: dict(value) if isinstance(value, dict) else value for key, value in base.items()}
    values["seed"] = seed
    values.setdefault("align", {})["epochs"] = epochs
    values["finetune"] = {"epochs": 0.0}  # not part of the paper's table
    for step, settings in CASES[case].items():
        values.setdefault(step, {}).update(settings)
    return from_dict(DistillConfig, values)


class Embeddings:
    """Scores test pictures with any head on one encoder, embedding them once."""

    def __init__(self) -> None:
        self.known: dict[str, np.ndarray] = {}

    def score(self, key: str, student: Student, rows: list[Row]) -> np.ndarray:
        if key not in self.known:
            pictures = PictureBatches([row.image for row in rows], student.preprocess)
            self.known[key] = embed(student.encoder, pictures)
        return student.score_embeddings(torch.from_numpy(self.known[key])).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--config", type=Path, default=ROOT / "recipes" / "nano-biq2021.yaml")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=2.0, help="of the alignment")
    parser.add_argument("--harvested", type=Path, help="folder of a teacher's triplets")
    arguments = parser.parse_args()
    rows = biq2021.read(arguments.data / "biq2021")
    train, _ = training_rows(rows)
    test = [row for row in rows if row.split == "test"]
    base = read_yaml(arguments.config)
    cases = [case for case in CASES if arguments.harvested or case not in HARVESTED]
    results: dict[int, list[tuple[float, float]]] = {case: [] for case in cases}
    with StageProgress() as progress:
        build_reference_triplets(train, arguments.output / "triplets", count=6)
        reference = requested_triplets(train, arguments.output / "triplets", count=6)
        harvested = read_triplets(arguments.harvested) if arguments.harvested else []
        for seed in range(arguments.seeds):
            embeddings = Embeddings()
            for case in cases:
                key = RUNS.get(case, "aligned")
                config = case_config(base, case, seed, arguments.epochs)
                student = distill(
                    config, rows, harvested if case in HARVESTED else reference,
                    arguments.output / f"seed{seed}-{key}",
                    report=lambda stage, i, n, loss, name=f"seed {seed} {key}": progress(
                        f"{name} {stage}", i, n, loss
                    ),
                )  # fmt: skip
                predicted = embeddings.score(key, student, test)
                report = evaluate_predictions(
                    {row.image: float(p) for row, p in zip(test, predicted, strict=True)},
                    [dataclasses.replace(row, dataset="biq2021") for row in test],
                )["datasets"]["biq2021"]
                results[case].append((report["plcc"], report["srcc"]))
    lines = [
        "# RALI's Table 4 with nano on BIQ2021\n",
        f"Test split, {len(test)} pictures, {arguments.seeds} seeds, {arguments.epochs:g} epochs "
        "of alignment from the packaged nano weights; mean ± standard deviation. "
        f"{platform.machine()}, torch {torch.__version__}. "
        "Command: `python benchmarks/ablation.py --data DIR`.\n",
        "| case | " + " | ".join(COLUMNS) + " | PLCC | SRCC |",
        "| --- | --- |" + " :---: |" * (len(COLUMNS) - 1) + " ---: | ---: |",
    ]
    for case, values in results.items():
        mean, spread = np.mean(values, 0), np.std(values, 0, ddof=1 if len(values) > 1 else 0)
        numbers = " | ".join(f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, spread, strict=True))
        whose = "–" if case == 1 else "harvested" if case in HARVESTED else "reference"
        marks = " | ".join([whose, *MARKS[case].split()])
        lines.append(f"| {case} | {marks} | {numbers} |")
    if harvested:
        teachers = ", ".join(sorted({triplet.teacher for triplet in harvested}))
        usable = sum(triplet.parse_ok for triplet in harvested)
        lines.append(f"\nHarvested: {usable:,} rationales by {teachers}.")
    (ROOT / "benchmarks" / "ablation.md").write_text("\n".join(lines) + "\n", "utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
