"""How a session computes, whatever the machine's instructions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rali.scoring.session import open_session


def test_sums_of_bytes_do_not_overflow(tmp_path: Path) -> None:
    """64 products of 255 and 127; two of them are more than 16 bits hold."""
    exact = 64 * 255 * 127
    values = {
        "one": np.float32(1), "no": np.uint8(0), "zero": np.int8(0),
        "weights": np.full((64, 4), 127, np.int8), "step": np.float32(exact / 255),
    }  # fmt: skip
    steps = (
        ("QuantizeLinear", "x one no", "a"),
        ("DequantizeLinear", "a one no", "b"),
        ("DequantizeLinear", "weights one zero", "c"),
        ("MatMul", "b c", "d"),
        ("QuantizeLinear", "d step no", "e"),
        ("DequantizeLinear", "e step no", "sums"),
    )
    graph = helper.make_graph(
        [helper.make_node(kind, takes.split(), [gives]) for kind, takes, gives in steps],
        "products",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("sums", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    file = tmp_path / "products.onnx"
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), file)
    session = open_session(file, None, threads=1)
    (sums,) = session.run(None, {"x": np.full((1, 64), 255, np.float32)})
    np.testing.assert_allclose(sums, exact, rtol=1e-5)
