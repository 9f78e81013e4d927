"""The resize inside `model_image.onnx` against Pillow's and ONNX `Resize`: image_graph.md.

    python benchmarks/image_graph.py --data DIR       (a folder of photographs)

200 pictures of many shapes are cut from the photographs in `--data` and resized, seed 0. Equal
pixels are counted for both filters, scores compared for the built-in model, and processor times
taken in turns, on one thread. `Resize` gets its best case: a graph that is given the size, with
Pillow's filter, that leaves out the border as Pillow does, and then crops; uint8 and float32.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import PIL

from rali import Scorer
from rali.export import export_image
from rali.export.measure.resizing import cut, open_session, resize_times
from rali.export.resize import pixels_model
from rali.pictures.preprocess import Preprocess
from rali.pictures.read import find_pictures
from rali.version import __version__

COUNT = 200
SIZES = (336, 512)
RUNS = 3
BOUNDS = (512, 1000, 2000, 4000)  # of the longer edge, in pixels


def equal_pixels(made: list[np.ndarray]) -> str:
    lines = ""
    for size in SIZES:
        for filter_ in ("bicubic", "bilinear"):
            for mode in ("shortest", "squash"):
                preprocess = Preprocess(size=size, interpolation=filter_, resize_mode=mode)  # type: ignore[arg-type]
                session = open_session(pixels_model(preprocess))
                equal = [
                    np.array_equal(session.run(None, {"image": rgb})[0], preprocess.pixels(rgb))
                    for rgb in made
                ]
                lines += f"| {size} | {filter_} | {mode} | {100 * np.mean(equal):.1f} % |\n"
    return lines


def speed(made: list[np.ndarray]) -> tuple[str, np.ndarray]:
    """The table's lines, and the ratio to the faster `Resize` of each picture and size."""
    edges = np.array([max(rgb.shape) for rgb in made])
    lines, all_ratios = "", []
    for size in SIZES:
        table = resize_times(made, size, RUNS)
        ratios = table[:, 2] / table[:, :2].min(axis=1)
        all_ratios.append(ratios)
        for low, high in itertools.pairwise(BOUNDS):
            here = (edges >= low) & (edges < high + (high == BOUNDS[-1]))
            times = " | ".join(f"{value:.1f}" for value in np.median(table[here], axis=0))
            spread = " | ".join(f"{np.quantile(ratios[here], q):.2f}" for q in (0.5, 0.9, 1))
            lines += f"| {size} | {low}–{high} | {here.sum()} | {times} | {spread} |\n"
    return lines, np.concatenate(all_ratios)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    made = list(cut(find_pictures([parser.parse_args().data]), COUNT))
    scorer = Scorer(threads=1)
    with tempfile.TemporaryDirectory() as folder:
        export_image("builtin", Path(folder) / "model_image.onnx", made[:1])
        joined = open_session(Path(folder) / "model_image.onnx")
    scores = np.array([joined.run(["score"], {"image": rgb})[0][0] for rgb in made])
    difference = np.abs(scores - [scorer(rgb) for rgb in made]).max()
    equal = equal_pixels(made)
    lines, ratios = speed(made)
    text = f"""# The resize inside model_image.onnx

{platform.machine()}, {os.cpu_count()} cores, one thread, Python {platform.python_version()},
onnxruntime {onnxruntime.__version__}, Pillow {PIL.__version__}, rali {__version__}, seed 0.
{COUNT} pictures cut from photographs, longer edge {BOUNDS[0]}–{BOUNDS[-1]} pixels, up to 12 : 1.
Written by `python benchmarks/image_graph.py`.

Pictures whose pixels all equal Pillow's:

| S | filter | resize mode | equal |
| ---: | --- | --- | ---: |
{equal}
Largest score difference from the Pillow path, built-in model, {COUNT} pictures: {difference:.1e}
(bar: ≤ 1e-4).

Processor time (bicubic, shortest), medians over the pictures of the median of {RUNS} runs in turns; `Resize` is
ONNX's, antialiased, its size given and its result cropped. The ratio is to the faster of the two.

| S | longer edge | pictures | `Resize` uint8 (ms) | `Resize` float32 (ms) | ours (ms) | ratio | 90 % of ratios below | largest |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{lines}
Median ratio {np.median(ratios):.2f} (bar: ≤ 2); {100 * np.mean(ratios <= 2):.1f} % of ratios ≤ 2.
"""  # noqa: E501
    Path(__file__).with_suffix(".md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
