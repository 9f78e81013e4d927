"""ViT-L/14-336 with random weights through the whole pipeline on 32 pictures.

    python benchmarks/vit_l.py > benchmarks/vit_l.md

Align (two steps), PCA, bases, fit, save, load, export, score, with seconds of wall time per stage
and the process's peak memory. It shows that the real size works on a small machine, not how good
the model gets.
"""

from __future__ import annotations

import platform
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from rali import Scorer, Student
from rali.data.degraded import degrade_folder
from rali.data.reference_rationales import build_reference_triplets
from rali.data.triplets import read_triplets
from rali.distill.align import AlignConfig
from rali.distill.pipeline import DistillConfig, distill
from rali.export import compare, export_onnx
from rali.pictures.degrade import DISTORTIONS
from rali.pictures.samples import sample_files
from rali.version import __version__

PICTURES = 32


def peak() -> float:
    """The most memory that this process held so far, in GB (10⁹ bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    times: dict[str, tuple[float, float]] = {}
    started = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal started
        times[name] = time.perf_counter() - started, peak()
        started = time.perf_counter()

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = degrade_folder(
            sample_files()[:6], folder / "pictures", distortions=DISTORTIONS[:3],
            severities=(3, 5), size=448,
        )[:PICTURES]  # fmt: skip
        build_reference_triplets(rows, folder / "triplets", count=2)
        lap("pictures and rationales")
        config = DistillConfig(
            encoder="ViT-L-14-336-quickgelu",
            pretrained="random",
            align=AlignConfig(epochs=0.5, batch_size=8, micro_batch=1),
        )
        student = distill(config, rows, read_triplets(folder / "triplets"), folder / "run")
        lap("align, PCA, bases, fit, save")
        del student
        student = Student.from_pretrained(folder / "run" / "model")
        lap("load")
        onnx = export_onnx(student, folder / "run" / "model" / "onnx" / "model.onnx")
        lap("export")
        paths = [row.image for row in rows]
        difference = compare(student, onnx, paths[::8]).max_difference
        lap("check on 4 pictures")
        del student
        scores = Scorer(onnx)(paths)
        lap(f"score {len(paths)} pictures")
        size = onnx.stat().st_size / 1e6
    print("# ViT-L/14-336, random weights, from pictures to scores\n")
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, Python "
        f"{platform.python_version()}, torch {torch.__version__}, rali {__version__}, seed 0, "
        f"{len(paths)} pictures.\n"
    )
    print("| stage | seconds | peak memory until then (GB) |\n| --- | ---: | ---: |")
    for name, (seconds, memory) in times.items():
        print(f"| {name} | {seconds:.1f} | {memory:.1f} |")
    print(
        f"\nONNX file {size:.0f} MB; largest difference from torch {difference:.1e}; scores "
        f"{np.min(scores):.2f}–{np.max(scores):.2f}; peak memory {peak():.1f} GB (bar: < 10 GB)."
    )


if __name__ == "__main__":
    main()
