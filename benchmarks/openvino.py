"""OpenVINO's execution provider beside ONNX Runtime's own, on the same files: openvino.md.

    rali export MODEL -o l/fused.onnx            # and --plain, --precision int8, both
    pip install --no-deps --target OPENVINO onnxruntime-openvino
    PYTHONPATH=OPENVINO python benchmarks/openvino.py l/*.onnx

Both providers take turns in one process, and medians of the rounds count. Speeds are multiples of
the first file's on ONNX Runtime's own provider.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import onnxruntime

from rali import Scorer
from rali.version import __version__

PROVIDERS = ("CPUExecutionProvider", "OpenVINOExecutionProvider")
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    files = parser.parse_args().files
    cores = os.cpu_count() or 1
    lines, base = [], 0.0
    for file in files:
        scorers = [Scorer(file, providers=[name], threads=cores) for name in PROVIDERS]
        size = scorers[0].preprocess.size
        for batch in (1, 4):
            pixels = np.random.default_rng(0).standard_normal((batch, 3, size, size), np.float32)
            outputs = [scorer.run(pixels) for scorer in scorers]
            times: list[list[float]] = [[], []]
            for _ in range(ROUNDS):
                for scorer, own in zip(scorers, times, strict=True):
                    start = time.perf_counter()
                    scorer.run(pixels)
                    own.append((time.perf_counter() - start) / batch)
            seconds = [statistics.median(own) for own in times]
            base = base or seconds[0]
            off = np.abs(outputs[0][0] - outputs[1][0]).max()
            cells = " | ".join(f"{each:.3f} | {base / each:.2f}" for each in seconds)
            lines.append(f"| {file.parent.name}/{file.stem} | {batch} | {cells} | {off:.1e} |")
    text = "\n".join(
        [
            "# OpenVINO beside ONNX Runtime's own kernels\n",
            f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, "
            f"onnxruntime-openvino {onnxruntime.__version__}, rali {__version__}, random weights. "
            f"Seconds per picture, medians of {ROUNDS} rounds in turns; speeds are multiples of "
            "the first row's own provider. Written by `python benchmarks/openvino.py FILES`.\n",
            "| file | batch | own, s | speed | OpenVINO, s | speed | scores differ by |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
            *lines,
            "",
        ]
    )
    Path(__file__).with_suffix(".md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
