"""Teach a student degradations and patterns beside the human scores that it knows.

    python recipes/weights/builtin_data.py --data DIR -o DATA
    rali distill DATA/biq2021.csv --config recipes/nano-biq2021.yaml -o FIRST
    python recipes/weights/builtin_finetune.py DATA --student FIRST/model -o RUN
    python recipes/weights/make_builtin.py --data DIR --run RUN

Encoder and bases are trained together on the three manifests. Then the weights are averaged with
those before (WiSE-FT, Wortsman et al., 2022), which keeps what the student knew: the share of new
weights is the largest that costs at most TOLERATED of the SRCC on BIQ2021's val split. The SRCC is
printed for every share. The same command resumes a stopped training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rali import Student
from rali.data.manifest import Row, read_manifest, select
from rali.distill.batches import PictureBatches, embed
from rali.distill.finetune import FinetuneConfig, finetune
from rali.metrics import srcc
from rali.runs.progress import StageProgress

CONFIG = FinetuneConfig(epochs=6, lr=3e-4)
SHARES = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TOLERATED = 0.005
MANIFESTS = ("biq2021", "degraded", "patterns")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--student", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    student = Student.from_pretrained(arguments.student)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    rows = {name: read_manifest(arguments.data / f"{name}.csv") for name in MANIFESTS}
    train = [row for name in MANIFESTS for row in select(rows[name], "train")]
    val = {name: select(rows[name], "val") for name in MANIFESTS}
    with StageProgress() as progress:
        finetune(
            student,
            PictureBatches([row.image for row in train], student.preprocess, keep=True),
            scores_of(train),
            CONFIG,
            checkpoint=arguments.output / "finetune.pt",
            progress=progress,
        )
    after = {name: value.clone() for name, value in student.state_dict().items()}
    pictures = {
        name: PictureBatches([row.image for row in found], student.preprocess, keep=True)
        for name, found in val.items()
    }
    chosen, least = 0.0, -1.0
    for share in SHARES:
        student.load_state_dict(averaged(before, after, share))
        lines = []
        for name in MANIFESTS:
            embedded = torch.from_numpy(embed(student.encoder, pictures[name]))
            predicted, mos = student.score_embeddings(embedded).numpy(), scores_of(val[name])
            error = np.square(predicted - mos).mean()
            ranks = f"SRCC {srcc(predicted, mos):.3f}, " if np.ptp(mos) else ""
            lines.append(f"{name} {ranks}MSE {error:.3f}")
            if name == "biq2021":
                found = srcc(predicted, mos)
        least = found if share == 0 else least
        chosen = share if found >= least - TOLERATED else chosen
        print(f"share {share:.1f}: " + "; ".join(lines), flush=True)
    print(f"chosen: {chosen}")
    student.load_state_dict(averaged(before, after, chosen))
    photographs = pictures["biq2021"]
    distances = student.distance(torch.from_numpy(embed(student.encoder, photographs)))
    student.config.familiar = float(distances.quantile(0.99))
    student.config.training |= {
        "pictures": len(train),
        "finetune": f"{CONFIG}, {chosen} of the weights new (recipes/weights/builtin_finetune.py)",
    }
    student.save_pretrained(arguments.output / "model")


def averaged(
    before: dict[str, Tensor], after: dict[str, Tensor], share: float
) -> dict[str, Tensor]:
    """`share` of `after`, the rest of `before`."""
    return {
        name: before[name].lerp(value, share) if value.is_floating_point() else value
        for name, value in after.items()
    }


def scores_of(rows: list[Row]) -> np.ndarray:
    return np.array([row.score for row in rows], dtype=np.float64)


if __name__ == "__main__":
    main()
