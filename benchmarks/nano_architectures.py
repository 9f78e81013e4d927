"""What should nano look at? Image towers from scratch at equal CPU time.

    python benchmarks/nano_architectures.py --data DIR [--seconds 100] [--only NAME ...]

Plain regression (squared error plus one minus the correlation), one thread, the same CPU seconds
for each, on two tasks: people's scores of BIQ2021's photographs (`train`, evaluated on `val`;
`test` is not read) and scores of degraded photographs (96 pristine ones, evaluated on Kodak's 24).
Writes benchmarks/nano_architectures.md.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from rali.data.degraded import degrade_folder
from rali.data.importers import biq2021
from rali.data.manifest import Row
from rali.distill.batches import PictureBatches, embed
from rali.metrics import plcc, srcc
from rali.student.encoders import nano_preprocess
from rali.student.nano import NanoConfig, NanoImageEncoder
from rali.version import __version__

NATIVE, HALF, CHROMA = NanoConfig().spectra
TOWERS: dict[str, dict[str, Any]] = {
    "trunk on the picture averaged over 4 × 4": {"spectra": ()},
    "wide trunk": {"spectra": (), "widths": (24, 48, 96, 160)},
    "trunk averaged over 2 × 2": {"spectra": (), "shrink": 2},
    "trunk + luma": {"spectra": (NATIVE,)},
    "trunk + luma, every block": {"spectra": (("luma", 1, 8, 8),)},
    "trunk + luma + half luma": {"spectra": (NATIVE, HALF)},
    "trunk + luma + half luma + chroma": {},
    "the same, 128 channels": {"spectrum_width": 128},
}
Split = tuple[list[Row], list[Row]]


def tasks(data: Path, work: Path) -> dict[str, Split]:
    """Per task the pictures to train on and those to evaluate on."""
    rows = [row for row in biq2021.read(data / "biq2021") if row.score is not None]
    pristine, kodak = [], []
    for path in sorted((data / "pristine").glob("*.jpg")):
        (kodak if path.name.startswith("kodak") else pristine).append(path)
    return {
        "BIQ2021 val": (
            [row for row in rows if row.split == "train"],
            [row for row in rows if row.split == "val"],
        ),
        "Kodak, degraded": (
            degrade_folder(pristine, work / "pristine", size=768, per_photograph=20),
            degrade_folder(kodak, work / "kodak", size=768, per_photograph=20),
        ),
    }


def train_and_evaluate(
    tower: dict[str, Any], split: Split, seconds: float
) -> tuple[int, float, float]:
    """Steps that the time allowed, SRCC and PLCC."""
    torch.manual_seed(0)
    config = NanoConfig(**tower)
    model = nn.Sequential(NanoImageEncoder(config), nn.Linear(config.embed_dim, 1))
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    train, held_out = (
        PictureBatches([row.image for row in rows], nano_preprocess(config), keep=True)
        for rows in split
    )
    target, truth = (np.array([row.score for row in rows], np.float32) for rows in split)
    draw, steps, spent = np.random.default_rng(0), 0, 0.0
    while spent < seconds:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1, steps / 30) * (0.5 + 0.5 * np.cos(np.pi * spent / seconds))
        chosen = draw.choice(len(train), 32, replace=False)
        pixels = train.pixels(chosen, flip=draw.random() < 0.5)
        started = time.process_time()  # decoding is the same for all
        predicted = model.train()(pixels)[:, 0] + 3.2
        wanted = torch.from_numpy(target[chosen])
        correlation = torch.corrcoef(torch.stack([predicted, wanted]))[0, 1]
        loss = F.mse_loss(predicted, wanted) + 1 - correlation
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps += 1
        spent += time.process_time() - started
    scores = embed(model, held_out)[:, 0]
    return steps, srcc(scores, truth), plcc(scores, truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=100)
    parser.add_argument("--only", nargs="*", default=list(TOWERS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["| tower | on | steps of 32 | SRCC | PLCC |", "| --- | --- | ---: | ---: | ---: |"]
    with tempfile.TemporaryDirectory() as work:
        splits = tasks(arguments.data, Path(work))
        for name in arguments.only:
            for task, split in splits.items():
                tower = TOWERS[name]
                steps, rank, linear = train_and_evaluate(tower, split, arguments.seconds)
                lines.append(f"| {name} | {task} | {steps} | {rank:.3f} | {linear:.3f} |")
                print(lines[-1], flush=True)
    text = (
        "# Image towers at equal CPU time\n\n`python benchmarks/nano_architectures.py --data DIR "
        f"--seconds {arguments.seconds:g}`: {platform.machine()}, one thread, Python "
        f"{platform.python_version()}, torch {torch.__version__}, rali {__version__}, seed 0.\n\n"
    )
    Path(__file__).with_suffix(".md").write_text(text + "\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
