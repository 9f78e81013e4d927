"""Steps per second of the alignment with pictures read by processes of their own, and without.

    python benchmarks/align_workers.py > benchmarks/align_workers.md

In: photographs that every install has, degraded in memory to JPEG files of 1024 × 768. Out: a table
in Markdown. Runs with 0, 1 and 2 processes take turns; medians count, as the speed drifts.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rali.distill.align import AlignConfig, align
from rali.distill.batches import PictureBatches
from rali.pictures.samples import sample_files
from rali.student.encoders import load_encoder

PICTURES, WORKERS = 64, (0, 1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="timm/test_efficientnet")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=2)
    given = parser.parse_args()
    encoder = load_encoder(given.encoder, "random")
    draw = np.random.default_rng(0)
    texts = [torch.from_numpy(draw.normal(size=(2, encoder.dim))).float() for _ in range(PICTURES)]
    config = AlignConfig(epochs=given.epochs, batch_size=16, micro_batch=16)
    with tempfile.TemporaryDirectory() as folder:
        pictures = PictureBatches(write_pictures(Path(folder)), encoder.preprocess)
        steps = config.plan(PICTURES)[1]
        taken: dict[int, list[float]] = {workers: [] for workers in WORKERS}
        for _ in range(given.rounds):
            for workers in WORKERS:
                started = time.monotonic()
                align(encoder.image, pictures, texts, dataclasses.replace(config, workers=workers))
                taken[workers].append(steps / (time.monotonic() - started))
    print("# Pictures read ahead of the alignment\n")
    print(
        f"{platform.machine()}, seed 0: {given.encoder}, {encoder.preprocess.size} pixels, "
        f"batch 16, {steps} steps, "
        f"{given.rounds} rounds; {os.cpu_count()} cores, torch {torch.__version__} with "
        f"{torch.get_num_threads()} threads, Python {platform.python_version()}\n"
    )
    print("| processes that read | steps/s, median | against none, median of rounds |")
    print("| ---: | ---: | ---: |")
    for workers, speeds in taken.items():
        ratios = [speed / none for speed, none in zip(speeds, taken[0], strict=True)]
        print(f"| {workers} | {statistics.median(speeds):.2f} | {statistics.median(ratios):.2f} |")


def write_pictures(folder: Path) -> list[Path]:
    sources = [Image.open(path).convert("RGB").resize((1024, 768)) for path in sample_files()]
    paths = [folder / f"{index}.jpg" for index in range(PICTURES)]
    for index, path in enumerate(paths):
        sources[index % len(sources)].save(path, quality=60 + index % 36)
    return paths


if __name__ == "__main__":
    main()
