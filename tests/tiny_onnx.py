"""An ONNX file small enough to check by hand, made without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from rali.pictures.preprocess import Preprocess

PREPROCESS = Preprocess(size=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
WEIGHTS = np.array([0.5, 1.0, 2.0], np.float32)


def write_model(path: Path, *, input_name: str = "pixel_values", **metadata: Any) -> Path:
    """embedding = mean colour [batch, 3]; score = 1 + embedding · (0.5, 1, 2)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def constant(name: str, value: np.ndarray) -> Any:
        return numpy_helper.from_array(value, name)

    nodes = [
        helper.make_node("ReduceMean", [input_name, "axes"], ["embedding"], keepdims=0),
        helper.make_node("Gemm", ["embedding", "w", "b"], ["column"]),
        helper.make_node("Squeeze", ["column", "one"], ["score"]),
    ]
    shape: list[str | int | None] = ["batch", 3, PREPROCESS.size, PREPROCESS.size]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 3]),
        ],
        [
            constant("axes", np.array([2, 3])),
            constant("one", np.array([1])),
            constant("w", WEIGHTS[:, None]),
            constant("b", np.array([1.0], np.float32)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    known = {"model_type": "rali", "score_range": [1, 5], **PREPROCESS.to_dict(), **metadata}
    props = {key: json.dumps(value) for key, value in known.items() if value is not None}
    helper.set_model_props(model, props)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
