"""What nano knows before any distillation: scores from texts alone, without any picture's score.

    python benchmarks/nano_zero_shot.py --data DIR --triplets runs/nano/triplets

The score is the softmax-weighted mean of the scores of 6,000 pretraining texts by cosine with the
picture (equation 3 with texts for bases). Pictures: 720 degradations of Kodak's 24 photographs,
which nano never saw, and BIQ2021's `val`; `test` is not read. It also compares wordings by their
cosine in the text tower. Writes benchmarks/nano_zero_shot.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from rali.data.degraded import degrade_folder
from rali.data.importers import biq2021
from rali.data.manifest import Row
from rali.data.triplets import read_triplets
from rali.distill.batches import PictureBatches, embed
from rali.metrics import srcc
from rali.pictures.degrade import DISTORTIONS
from rali.student.encoders import Encoder, load_encoder
from rali.student.student import score_from_bases
from rali.version import __version__

TEXTS, TEMPERATURE, SEED = 6000, 0.05, 0
WORDINGS = (
    ("It suffers from serious blurring of the whole frame.",
     "The main problem is a catastrophic blur that softens edges."),
    ("It suffers from serious blurring of the whole frame.",
     "It suffers from serious random noise over all surfaces."),
    ("Overall, the photograph is terrible.", "Overall, the photograph is excellent."),
)  # fmt: skip


def score(encoder: Encoder, rows: list[Row], bases: torch.Tensor, values: torch.Tensor):
    pictures = PictureBatches([row.image for row in rows], encoder.preprocess)
    embeddings = torch.from_numpy(embed(encoder.image, pictures))
    return score_from_bases(embeddings, bases, values, TEMPERATURE).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--triplets", type=Path, required=True)
    parser.add_argument(
        "--weights", default="", help="a folder of weights; the packaged ones by default"
    )
    arguments = parser.parse_args()
    encoder = load_encoder("nano", arguments.weights or None)
    assert encoder.text is not None
    scored = [t for t in read_triplets(arguments.triplets) if t.score is not None]
    chosen = np.random.default_rng(SEED).choice(len(scored), TEXTS, replace=False)
    bases = encoder.text.encode([scored[i].reasoning for i in chosen])
    values = torch.tensor([scored[i].score for i in chosen])
    val = [row for row in biq2021.read(arguments.data / "biq2021") if row.split == "val"]
    with tempfile.TemporaryDirectory() as folder:
        photographs = sorted((arguments.data / "pristine").glob("kodak*.jpg"))
        kodak = degrade_folder(photographs, folder, size=768, per_photograph=30, seed=SEED)
        predicted = score(encoder, kodak, bases, values)
    lines = ["| pictures | n | SRCC |", "| --- | ---: | ---: |"]

    def line(name: str, rows: list[Row], scores: np.ndarray) -> None:
        lines.append(f"| {name} | {len(rows)} | {srcc(scores, [r.score for r in rows]):.3f} |")

    line("BIQ2021 val", val, score(encoder, val, bases, values))
    line("Kodak, degraded", kodak, predicted)
    for distortion in DISTORTIONS:
        places = [i for i, row in enumerate(kodak) if row.distortion == distortion]
        line(f"– {distortion}", [kodak[i] for i in places], predicted[places])
    lines += ["", "| one text | another | cosine |", "| --- | --- | ---: |"]
    for pair in WORDINGS:
        one, other = F.normalize(encoder.text.encode(pair), dim=-1)
        lines.append(f"| {pair[0]} | {pair[1]} | {float(one @ other):.2f} |")
    text = (
        "# What nano knows before any distillation\n\n"
        f"`python benchmarks/nano_zero_shot.py --data DIR --triplets DIR`: {platform.machine()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}, "
        f"rali {__version__}, seed {SEED}, {TEXTS:,} texts, temperature {TEMPERATURE}.\n\n"
        + "\n".join(lines)
        + "\n"
    )
    Path(__file__).with_suffix(".md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
