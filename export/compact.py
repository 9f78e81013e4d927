"""An ONNX file in fewer bytes without any change of its numbers.

Weights that lie on an 8-bit grid per channel, as those of a student that was stored in 8 bits do,
are stored as whole numbers and their scales; values that float16 holds exactly, as float16. Nodes
make float32 of them, which ONNX Runtime runs once, on loading.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

LEAST = 1024  # bytes; smaller constants stay as they are


def compact(path: Path) -> None:
    """Rewrite the file in place."""
    model = onnx.load(path)
    nodes: list[NodeProto] = []
    stored: list[TensorProto] = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        parts = None
        if values.dtype == np.float32 and values.nbytes >= LEAST:
            parts = _in_8_bits(values) or _in_16_bits(values)
        if parts is None:
            stored.append(tensor)
            continue
        name = tensor.name
        small = f"{name}/stored"
        stored.append(numpy_helper.from_array(parts[0], small))
        cast = name if len(parts) == 1 else f"{name}/whole"
        nodes.append(
            helper.make_node("Cast", [small], [cast], f"{name}/cast", to=TensorProto.FLOAT)
        )
        if len(parts) == 2:
            stored.append(numpy_helper.from_array(parts[1], f"{name}/scale"))
            nodes.append(helper.make_node("Mul", [cast, f"{name}/scale"], [name], f"{name}/mul"))
    nodes += model.graph.node
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(stored)
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _in_8_bits(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """int8 and float32 scales that multiply to exactly these values, where there are such."""
    if values.ndim < 2:
        return None
    for channel in (0, values.ndim - 1):  # of kernels and matrices, and of matrices turned round
        axes = tuple(axis for axis in range(values.ndim) if axis != channel)
        scale = np.abs(values).max(axes, keepdims=True).clip(1e-12) / np.float32(127)
        whole = np.rint(values / scale)
        if np.array_equal(whole.astype(np.float32) * scale, values):
            return whole.astype(np.int8), scale
    return None


def _in_16_bits(values: np.ndarray) -> tuple[np.ndarray] | None:
    half = values.astype(np.float16)
    return (half,) if np.array_equal(half.astype(np.float32), values) else None
