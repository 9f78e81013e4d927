"""The built-in model's LiteRT files beside ONNX Runtime: scores, size, speed; writes tflite.md.

    make test-mobile                                          (makes .venv-mobile)
    .venv-mobile/bin/python benchmarks/tflite.py --data DIR   (with pristine and biq2021)

200 photographs are scored by `model.onnx` and by the file in LiteRT, from the same pixels. Speed is
that of the model alone, on one of them: runs of both runtimes take turns, and the ratio is that of
the medians. LiteRT's file normalises too, which ONNX Runtime's is given.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime

from rali import Scorer, Student
from rali.export.formats import export_format
from rali.export.tflite import runner
from rali.pictures.read import find_pictures, open_picture
from rali.scoring.model_folder import FORMATS, find_model
from rali.version import __version__

COUNT = 200
ROUNDS = 40
BAR = 0.02


def seconds(runs: list) -> list[float]:
    """The median time of each function, which take turns."""
    times = np.empty((ROUNDS, len(runs)))
    for turn in times:
        for place, run in enumerate(runs):
            started = time.perf_counter()
            run()
            turn[place] = time.perf_counter() - started
    return np.median(times[2:], axis=0).tolist()


def session(threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    file = find_model("builtin")
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    sets = [find_pictures([data / name]) for name in ("pristine", "biq2021/images")]
    photographs = [path for found in sets for path in found[:: len(found) // (COUNT // 2)]]
    photographs = [*photographs[: COUNT // 2], *photographs[-COUNT // 2 :]]
    scorer, student, lines, speeds = Scorer(threads=1), Student.from_pretrained("builtin"), "", ""
    pixels = [scorer.preprocess.pixels(open_picture(path)) for path in photographs]
    normal = [scorer.preprocess.normalise(each)[None] for each in pixels]
    expected = np.array([scorer.run(each)[0][0] for each in normal])
    onnx_size = find_model("builtin").stat().st_size / 1e6
    with tempfile.TemporaryDirectory() as folder:
        for precision in FORMATS["tflite"].precisions:
            file = Path(folder) / f"{precision}.tflite"
            export_format(student, file, "tflite", precision=precision)
            run = runner(file)
            off = np.abs(np.array([run(each)[0][0] for each in pixels]) - expected)
            lines += (
                f"| {precision} | {file.stat().st_size / 1e6:.1f} | {off.max():.1e} | "
                f"{off.mean():.1e} | {'met' if off.max() <= BAR else 'missed'} |\n"
            )
            for threads in (1, 2):
                onnx, lite = session(threads), runner(file, threads)
                ours, theirs = seconds(
                    [
                        lambda onnx=onnx: onnx.run(None, {"pixel_values": normal[0]}),
                        lambda lite=lite: lite(pixels[0]),
                    ]
                )
                speeds += (
                    f"| {precision} | {threads} | {1e3 * ours:.0f} | {1e3 * theirs:.0f} | "
                    f"{ours / theirs:.2f} |\n"
                )
    text = f"""# LiteRT beside ONNX Runtime

{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {version("torch")},
litert-torch {version("litert-torch")}, ai-edge-litert {version("ai-edge-litert")}, onnxruntime
{onnxruntime.__version__}, rali {__version__}, the built-in model ({onnx_size:.1f} MB as ONNX).
{len(photographs)} photographs, no randomness. Written by `python benchmarks/tflite.py --data DIR`.
Bar: scores within {BAR} of `model.onnx`. Load when it ended: {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores,
so that milliseconds are upper bounds; the ratios come from runs that take turns.

| precision | MB | scores differ by, at most | mean | bar |
| --- | ---: | ---: | ---: | --- |
{lines}
| precision | threads | ONNX Runtime, fp32 (ms) | LiteRT (ms) | LiteRT's speed, times ONNX Runtime's |
| --- | ---: | ---: | ---: | ---: |
{speeds}"""  # noqa: E501
    Path(__file__).with_suffix(".md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
