"""The resize inside `model_image.onnx` against ONNX `Resize`, on pictures of many shapes.

`Resize` gets its best case: a graph that is given the size, with Pillow's filter, that leaves out
the border as Pillow does, and then crops.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from PIL import Image

from rali.pictures.preprocess import Preprocess
from rali.pictures.read import open_picture

from ..graph import Graph, Value
from ..resize import IMAGE, OPSET, pixels_model

EDGES = (512, 4000)  # the longer one, in pixels


def cut(photographs: Sequence[Path], count: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Random parts of photographs, uint8 [H, W, 3], their longer edges resized to 512–4000."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        photograph = Image.fromarray(open_picture(photographs[number % len(photographs)]))
        # One in ten is a panorama, up to 12 : 1; the others are up to 2.2 : 1.
        steepest = np.log(12 if number % 10 == 0 else 2.2)
        aspect = np.exp(rng.uniform(-steepest, steepest))
        share = rng.uniform(0.5, 1) * min(photograph.width, photograph.height * aspect)
        width, height = share, share / aspect
        left = rng.uniform(0, photograph.width - width)
        top = rng.uniform(0, photograph.height - height)
        edge = np.exp(rng.uniform(*np.log(EDGES))) / max(width, height)
        size = max(1, round(width * edge)), max(1, round(height * edge))
        box = (left, top, left + width, top + height)
        yield np.asarray(photograph.resize(size, Image.Resampling.LANCZOS, box))


def open_session(
    model: onnx.ModelProto | Path, provider: str = "CPUExecutionProvider"
) -> onnxruntime.InferenceSession:
    """A session with one thread, so that processor times can be compared."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=[provider])


def resize_model(kind: int) -> onnx.ModelProto:
    """ONNX's own `Resize` in one number type: image, sizes [4], begin [2], end [2] → pixels."""
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
    return graph.model([IMAGE, *inputs], [output], OPSET)


def resize_feed(rgb: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """The inputs of `resize_model` that make `rgb` [size, size]."""
    edges = np.array(rgb.shape[:2])
    whole = size * edges // edges.min()
    begin = np.round((whole - size) / 2).astype(int)
    return {"image": rgb, "sizes": np.array([1, 3, *whole]), "begin": begin, "end": begin + size}


def resize_times(pictures: Iterable[np.ndarray], size: int, rounds: int = 3) -> np.ndarray:
    """[n, 3]: milliseconds of `Resize` in uint8, in float32, and of rali's own graph.

    They are medians over rounds in turns, after one to warm up. Processor time is measured, as
    other programs may run.
    """
    own = open_session(pixels_model(Preprocess(size=size)))
    theirs = [open_session(resize_model(kind)) for kind in (TensorProto.UINT8, TensorProto.FLOAT)]
    rows = []
    for rgb in pictures:
        feed = resize_feed(rgb, size)
        runs = [(session, feed) for session in theirs] + [(own, {"image": rgb})]
        taken: list[list[float]] = [[] for _ in runs]
        for turn in range(rounds + 1):
            for (session, fed), own_times in zip(runs, taken, strict=True):
                started = time.process_time()
                session.run(None, fed)
                if turn:
                    own_times.append(1e3 * (time.process_time() - started))
        rows.append([float(np.median(times)) for times in taken])
    return np.array(rows)


def between_providers(
    model: onnx.ModelProto | Path, output: str, pictures: Iterable[np.ndarray], other: str
) -> list[float]:
    """How far a graph's output differs between ONNX Runtime's own provider and another, [n].

    Args:
        model: takes `image`, as `pixels_model` and `rali export --image` do.
        other: the other provider, such as "OpenVINOExecutionProvider".
    """
    sessions = [open_session(model), open_session(model, other)]
    differences = []
    for rgb in pictures:
        own, others = (each.run([output], {"image": rgb})[0].astype(float) for each in sessions)
        differences.append(float(np.abs(own - others).max()))
    return differences
