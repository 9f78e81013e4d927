"""OpenVINO's execution provider beside ONNX Runtime's own, on the same files: openvino.md.

    rali export MODEL -o l/fused.onnx            # and --plain, --precision int8, both
    pip install --no-deps --target OPENVINO onnxruntime-openvino
    PYTHONPATH=OPENVINO python benchmarks/openvino.py l/*.onnx

Both providers take turns in one process, and medians of the rounds count. Speeds are multiples of
the first file's on ONNX Runtime's own provider. With --image and --photographs the file of `rali
export --image` also runs on both, on pictures of many shapes cut from the photographs.
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
from rali.export.measure.resizing import cut
from rali.pictures.read import find_pictures
from rali.version import __version__

PROVIDERS = ("CPUExecutionProvider", "OpenVINOExecutionProvider")
ROUNDS = 5
SHAPES = 48


def resized(model: Path, photographs: Path) -> list[str]:
    """How scores by the graph that resizes differ between the providers."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    own, other = (
        onnxruntime.InferenceSession(str(model), options, providers=[name]) for name in PROVIDERS
    )
    off = []
    for rgb in cut(find_pictures([photographs]), SHAPES):
        scores = [session.run(["score"], {"image": rgb})[0][0] for session in (own, other)]
        off.append(abs(scores[0] - scores[1]))
    return [
        f"`{model.name}`, {SHAPES} pictures of many shapes: scores differ by {np.median(off):.1e} "
        f"in the median and {max(off):.2f} at most; {np.mean(np.array(off) > 1e-4):.0%} by more "
        "than 1e-4.",
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--photographs", type=Path)
    arguments = parser.parse_args()
    files = arguments.files
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
            *([] if arguments.image is None else resized(arguments.image, arguments.photographs)),
        ]
    )
    Path(__file__).with_suffix(".md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
