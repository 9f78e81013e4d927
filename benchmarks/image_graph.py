"""The resize inside `model_image.onnx` against Pillow's and ONNX `Resize`: image_graph.md.

    python benchmarks/image_graph.py --data ../shared/data/pristine

200 pictures of many shapes are cut from the photographs in `--data` and resized, seed 0. Equal
pixels are counted for both filters, scores compared for the built-in model, and processor times
taken in turns, on one thread. `Resize` gets its best case: a graph that is told the size, with
Pillow's filter, that leaves the border out as Pillow does, and then crops; uint8 and float32.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import PIL
from onnx import TensorProto, helper
from PIL import Image

from rali import Scorer, __version__
from rali.export import export_image
from rali.export.graph import Graph, Value
from rali.export.resize import IMAGE, OPSET, pixels_model
from rali.pictures import find_pictures, open_picture
from rali.preprocess import Preprocess

COUNT = 200
SIZES = (336, 512)
RUNS = 3
EDGES = (512, 1000, 2000, 4000)  # the longer one, in pixels


def open_session(model: onnx.ModelProto | Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options)


def pictures(folder: Path) -> list[np.ndarray]:
    """uint8 [H, W, 3]: a random part of a photograph, its longer edge resized to 512–4000."""
    rng = np.random.default_rng(0)
    files = find_pictures([folder])
    made = []
    for number in range(COUNT):
        photograph = Image.fromarray(open_picture(files[number % len(files)]))
        # One in ten is a panorama, up to 12 : 1; the others are up to 2.2 : 1.
        steepest = np.log(12 if number % 10 == 0 else 2.2)
        aspect = np.exp(rng.uniform(-steepest, steepest))
        share = rng.uniform(0.5, 1) * min(photograph.width, photograph.height * aspect)
        width, height = share, share / aspect
        left = rng.uniform(0, photograph.width - width)
        top = rng.uniform(0, photograph.height - height)
        edge = np.exp(rng.uniform(np.log(EDGES[0]), np.log(EDGES[-1]))) / max(width, height)
        size = max(1, round(width * edge)), max(1, round(height * edge))
        box = (left, top, left + width, top + height)
        made.append(np.asarray(photograph.resize(size, Image.Resampling.LANCZOS, box)))
    return made


def resize_model(kind: int) -> onnx.ModelProto:
    """ONNX's own `Resize` on `kind`: image, sizes [4], begin [2], end [2] → pixels."""
    graph = Graph("resize")
    planes = graph.Unsqueeze(graph.Transpose(Value(graph, "image"), perm=[2, 0, 1]), [0])
    resized = graph.Resize(
        planes.to(kind),
        *(Value(graph, name) for name in ("", "", "sizes")),
        mode="cubic", antialias=1, cubic_coeff_a=-0.5, exclude_outside=1,
    )  # fmt: skip
    edges = [Value(graph, name) for name in ("begin", "end")]
    graph.node("Slice", resized, *edges, [2, 3], output="pixels")
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, [length])
        for name, length in (("sizes", 4), ("begin", 2), ("end", 2))
    ]
    output = helper.make_tensor_value_info("pixels", kind, None)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(
        helper.make_graph(graph.nodes, "resize", [IMAGE, *inputs], [output], graph.constants),
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
    )


def resize_feed(rgb: np.ndarray, size: int) -> dict[str, np.ndarray]:
    edges = np.array(rgb.shape[:2])
    whole = size * edges // edges.min()
    begin = np.round((whole - size) / 2).astype(int)
    return {"image": rgb, "sizes": np.array([1, 3, *whole]), "begin": begin, "end": begin + size}


def milliseconds(runs: dict[str, tuple]) -> dict[str, float]:
    """Medians of `RUNS` turns, after one that warms up; of processor time, as others may run."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(RUNS + 1):
        for name, (session, feed) in runs.items():
            started = time.process_time()
            session.run(None, feed)
            if turn:
                taken[name].append(1e3 * (time.process_time() - started))
    return {name: float(np.median(values)) for name, values in taken.items()}


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


def speed(made: list[np.ndarray]) -> tuple[str, list[float]]:
    """The table's lines, and the ratio to the faster `Resize` of each picture and size."""
    kinds = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
    reference = {name: open_session(resize_model(kind)) for name, kind in kinds.items()}
    lines, all_ratios = "", []
    for size in SIZES:
        ours = open_session(pixels_model(Preprocess(size=size)))
        rows = []
        for rgb in made:
            feed = resize_feed(rgb, size)
            runs = {name: (session, feed) for name, session in reference.items()}
            taken = milliseconds(runs | {"ours": (ours, {"image": rgb})})
            rows.append((max(rgb.shape), *taken.values()))
        table = np.array(rows)
        ratios = table[:, 3] / table[:, 1:3].min(axis=1)
        all_ratios.extend(ratios.tolist())
        for low, high in itertools.pairwise(EDGES):
            here = (table[:, 0] >= low) & (table[:, 0] < high + (high == EDGES[-1]))
            times = " | ".join(f"{value:.1f}" for value in np.median(table[here, 1:], axis=0))
            spread = " | ".join(f"{np.quantile(ratios[here], q):.2f}" for q in (0.5, 0.9, 1))
            lines += f"| {size} | {low}–{high} | {here.sum()} | {times} | {spread} |\n"
    return lines, all_ratios


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pristine"))
    made = pictures(parser.parse_args().data)
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
{COUNT} pictures cut from photographs, longer edge {EDGES[0]}–{EDGES[-1]} pixels, up to 12 : 1.
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
Median ratio {np.median(ratios):.2f} (bar: ≤ 2); {100 * np.mean(np.array(ratios) <= 2):.1f} % of ratios ≤ 2.
"""  # noqa: E501
    Path(__file__).with_suffix(".md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
