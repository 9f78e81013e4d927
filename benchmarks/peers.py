"""Speed and memory of rali beside the metrics of pyiqa, on the same pictures in one run.

    pip install pyiqa
    python benchmarks/peers.py --pictures DIR [--rounds 5]

Every measurement has a process of its own, reads files and scores them one by one. Models take
turns, and the median of the rounds counts. Where a metric's released weights cannot be downloaded,
random ones of the same shape replace them: they cost the same time and tell nothing about quality.
Writes benchmarks/peers.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rali.scoring.speed import peak_memory

RALI = ("rali, ONNX file", "rali, torch")
PEERS = ("niqe", "brisque", "clipiqa+", "musiq", "liqe", "topiq_nr")
COUNT = 8


def measure(name: str, pictures: list[str], threads: int) -> tuple[float, float, str]:
    """Seconds per picture, peak MiB of the process, and whose weights."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    score, weights = build(name, threads)
    score(pictures[0])
    start = time.perf_counter()
    for picture in pictures:
        score(picture)
    seconds = (time.perf_counter() - start) / len(pictures)
    return seconds, peak_memory(), weights


def build(name: str, threads: int) -> tuple[Callable[[str], Any], str]:
    if name == RALI[0]:
        from rali import Scorer

        return Scorer(threads=threads), "released"
    import torch

    torch.set_num_threads(threads)
    if name == RALI[1]:
        from rali.student.pyiqa_metric import Metric

        return Metric(), "released"
    import pyiqa

    try:
        return pyiqa.create_metric(name, device="cpu"), "released"
    except Exception:  # no network: whatever the download raises
        return random_metric(name), "random"


def random_metric(name: str) -> Any:
    """The metric with random weights of the released shapes."""
    import numpy as np
    import pyiqa
    import timm
    import torch
    from pyiqa.archs import clip_model, clipiqa_arch, liqe_arch
    from scipy.io import savemat

    folder = Path(tempfile.mkdtemp())
    create = timm.create_model
    timm.create_model = lambda *a, **k: create(*a, **(k | {"pretrained": False}))
    towers = {
        "RN50": (1024, 224, (3, 4, 6, 3), 64, None, 77, 49408, 512, 8, 12),
        "ViT-B/32": (512, 224, 12, 768, 32, 77, 49408, 512, 8, 12),
    }
    for module in (clipiqa_arch, liqe_arch):
        module.load = lambda backbone, *_: clip_model.CLIP(*towers[backbone]).eval()
    liqe_arch.DEFAULT_CACHE_DIR = str(folder)
    options: dict[str, Any] = {"pretrained": False}
    if name == "niqe":
        file = folder / "niqe.mat"
        savemat(file, {"mu_prisparam": np.zeros(36), "cov_prisparam": np.eye(36)})
        options = {"pretrained_model_path": str(file)}
    elif name == "brisque":
        file = folder / "brisque.pth"
        torch.save((torch.randn(774), torch.randn(774, 36)), file)
        options = {"pretrained_model_path": str(file)}
    elif name == "topiq_nr":
        options["backbone_pretrain"] = False
    return pyiqa.create_metric(name, device="cpu", **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    pictures = [str(path) for path in sorted(arguments.pictures.glob("*.jpg"))[:COUNT]]
    found: dict[str, list[tuple[float, float, str]]] = {}
    for round_ in range(arguments.rounds):
        for name in (*RALI, *PEERS):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                cost = pool.submit(measure, name, pictures, arguments.threads).result()
            found.setdefault(name, []).append(cost)
            print(f"round {round_ + 1}, {name}: {cost[0]:.3f} s, {cost[1]:.0f} MiB, {cost[2]}")
    from importlib.metadata import version

    from PIL import Image

    with Image.open(pictures[0]) as picture:
        size = f"{picture.width} × {picture.height}"
    base = statistics.median(seconds for seconds, _, _ in found[RALI[0]])
    lines = [
        "# rali beside pyiqa's metrics\n",
        f"`python benchmarks/peers.py --pictures DIR`: {platform.machine()}, {arguments.threads} "
        f"threads, Python {platform.python_version()}, torch {version('torch')}, pyiqa "
        f"{version('pyiqa')}; {len(pictures)} JPEG files ({size}), one by one, reading included. "
        f"Medians of {arguments.rounds} interleaved rounds, each model in a process of its own.\n",
        "| metric | weights | seconds per picture | times rali's file | peak memory, MiB |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for name, costs in found.items():
        seconds = statistics.median(s for s, _, _ in costs)
        memory = statistics.median(m for _, m, _ in costs)
        lines.append(
            f"| {name} | {costs[0][2]} | {seconds:.3f} | {seconds / base:.1f} | {memory:.0f} |"
        )
    lines.append(
        "\nRandom weights cost the same time; they replace what could not be downloaded. Accuracy "
        "is not compared here.\n"
    )
    text = "\n".join(lines)
    (Path(__file__).parent / "peers.md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
