"""`model.onnx` in, `model_image.onnx` out: image uint8 [H, W, 3] of any size → score, embedding.

The same model behind a graph that resizes, crops and normalises, so that a program that runs it
needs no code for that (docs/formats.md). It is checked against the file that it was made from.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import PIL
from onnx import TensorProto, external_data_helper

from rali.errors import InputError
from rali.pictures.preprocess import Preprocess
from rali.pictures.read import open_picture
from rali.pictures.samples import sample_photographs
from rali.scoring.scorer import Scorer
from rali.scoring.session import EXACT_INTEGERS

from .agreement import TOLERANCE
from .graph import Graph
from .onnx import move_into
from .resize import IMAGE, OPSET, pixels_model, resize


def export_image(
    model: str | Path, path: str | Path, pictures: Sequence[Any] | None = None
) -> float:
    """Write `model_image.onnx`; it takes its place only if pixels and scores are the same.

    The file takes `image`, uint8 RGB [H, W, 3], and returns `score` [1] and `embedding` [1, D].

    Args:
        model: an ONNX file of any precision that `rali export` wrote, or anything else that
            `Scorer` takes.
        path: the file to write.
        pictures: what is compared on; by default `sample_photographs`.

    Returns:
        The largest difference between the scores of both files.

    Raises:
        InputError: `model` is no such file, or its opset is below 18; a picture's pixels are not
            Pillow's, or its score differs by more than `TOLERANCE`.
    """
    path, scorer = Path(path), Scorer(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        file = Path(folder) / path.name
        _join(scorer.path, file, scorer.preprocess)
        difference = _check(scorer, file, sample_photographs() if pictures is None else pictures)
        move_into(file, path.parent)
    return difference


def with_image(model: onnx.ModelProto, preprocess: Preprocess) -> onnx.ModelProto:
    """Make the model take `image` instead of `pixel_values`, in place, and return it.

    Raises:
        InputError: the model's opset is below 18.
    """
    opset = max(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if opset < OPSET:
        raise InputError(f"The ONNX file has opset {opset}; resizing needs {OPSET} or newer.")
    graph = Graph("image")
    normalise(graph, preprocess)
    nodes = [*graph.nodes, *model.graph.node]
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(graph.constants)
    model.graph.input.append(IMAGE)
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[0].dim_value = 1
    props = {each.key: each.value for each in model.metadata_props}
    onnx.helper.set_model_props(model, props | {"input": json.dumps("image")})
    return model


def normalise(graph: Graph, preprocess: Preprocess) -> None:
    """`image` uint8 [H, W, 3] → `pixel_values` float32 [1, 3, S, S], as `Preprocess` does."""
    mean, std = np.array(preprocess.mean, np.float32), np.array(preprocess.std, np.float32)
    unit = resize(graph, preprocess).to(TensorProto.FLOAT) / np.float32(255)
    planes = graph.Transpose((unit - mean) / std, perm=[2, 0, 1])
    graph.node("Unsqueeze", planes, [0], output="pixel_values")


def _join(source: Path, target: Path, preprocess: Preprocess) -> None:
    """Write the joined model, with its weights beside it if the source has them there."""
    model = onnx.load(str(source), load_external_data=False)
    beside = any(map(external_data_helper.uses_external_data, model.graph.initializer))
    if beside:
        external_data_helper.load_external_data_for_model(model, str(source.parent))
    onnx.save(
        with_image(model, preprocess),
        str(target),
        save_as_external_data=beside,
        location=f"{target.name}.data",
    )


def _check(scorer: Scorer, file: Path, pictures: Sequence[Any]) -> float:
    if not pictures:
        raise InputError("The check needs at least one picture; none was given.")
    pixels_alone = _open(pixels_model(scorer.preprocess).SerializeToString())
    joined, differences = _open(str(file)), []
    for picture in pictures:
        rgb = open_picture(picture)
        pixels = pixels_alone.run(None, {"image": rgb})[0]
        if not np.array_equal(pixels, scorer.preprocess.pixels(rgb)):
            raise InputError(
                f"The graph resizes a picture of {rgb.shape[1]}×{rgb.shape[0]} differently from "
                f"Pillow {PIL.__version__} here, and was not kept; please report it."
            )
        differences.append(abs(joined.run(["score"], {"image": rgb})[0][0] - scorer(rgb)))
    if not max(differences) <= TOLERANCE:
        raise InputError(
            f"The file that takes images differs from {scorer.path} by {max(differences):.1e}, "
            f"more than {TOLERANCE:g}, and was not kept; please report the encoder and versions."
        )
    return float(max(differences))


def _open(model: str | bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry(*EXACT_INTEGERS)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
