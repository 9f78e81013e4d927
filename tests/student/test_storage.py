"""Weights in fewer bytes: how much is lost, what is kept, and that ONNX files lose nothing more."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors import safe_open
from safetensors.torch import load_file

from rali.export.compact import compact
from rali.student.storage import pack, unpack, write_tensors


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "matrix": torch.randn(40, 64) * torch.logspace(-3, 2, 40)[:, None],
        "kernel": torch.randn(32, 8, 3, 3),
        "bias": torch.randn(40),
        "steps": torch.tensor(7),
    }


def test_weights_may_be_read_by_whoever_may_read_a_new_file(state, tmp_path):
    before = os.umask(0o022)
    try:
        write_tensors(state, tmp_path / "model.safetensors", {"format": "pt"})
        (tmp_path / "other").touch()
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("model.safetensors", "other")]
    assert modes == [0o644, 0o644]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "other"]
    assert torch.equal(load_file(tmp_path / "model.safetensors")["kernel"], state["kernel"])


def test_the_same_weights_are_the_same_bytes(state, tmp_path):
    noted = {name: name.upper() for name in "hgfedcba"}  # 1 of 40,320 orders
    for name in ("one", "two"):
        write_tensors(state, tmp_path / name, noted)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert torch.equal(load_file(tmp_path / "one")["kernel"], state["kernel"])
    with safe_open(tmp_path / "one", "pt") as file:
        assert file.metadata() == noted


def test_eight_bits_lose_half_a_step_of_each_channel_at_most(state: dict[str, torch.Tensor]):
    packed = pack(state, "int8")
    assert packed["matrix"].dtype == torch.int8 and packed["bias"].dtype == torch.float16
    found = unpack(packed)
    assert set(found) == set(state) and found["steps"] == 7
    for name in ("matrix", "kernel"):
        flat = state[name].flatten(1)
        step = flat.abs().amax(1) / 127
        assert ((found[name].flatten(1) - flat).abs().amax(1) <= 0.501 * step).all()
    torch.testing.assert_close(found["bias"], state["bias"], rtol=1e-3, atol=1e-3)
    again = unpack(pack(found, "int8"))
    assert all(torch.allclose(again[name], found[name], rtol=1e-6) for name in found)


def test_an_onnx_file_of_such_weights_shrinks_and_computes_the_same(
    state: dict[str, torch.Tensor], tmp_path: Path
):
    stored = unpack(pack(state, "int8"))
    weights = {"matrix": stored["matrix"].T.contiguous(), "kernel": stored["kernel"]}
    nodes = [
        helper.make_node("MatMul", ["x", "matrix"], ["y"]),
        helper.make_node("Conv", ["picture", "kernel"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes, "two layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 64]),
         helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 8, 9, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 40]),
         helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 32, 7, 7])],
        [numpy_helper.from_array(value.numpy(), name) for name, value in weights.items()],
    )  # fmt: skip
    file = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), file)
    draw = np.random.default_rng(0)
    given = {"x": draw.standard_normal((3, 64)), "picture": draw.standard_normal((1, 8, 9, 9))}
    given = {name: values.astype(np.float32) for name, values in given.items()}

    def outputs() -> list[np.ndarray]:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return session.run(None, given)

    before, size = outputs(), file.stat().st_size
    compact(file)
    assert file.stat().st_size < 0.4 * size
    for one, other in zip(before, outputs(), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.skipif(sys.platform == "win32", reason="only Unix kills a process so")
def test_a_kill_amid_a_file_leaves_nothing_but_what_is_swept_later(tmp_path):
    """The system kills the process once the file has a mebibyte."""
    code = """
import resource, signal, sys
from pathlib import Path
import torch
from rali.student.storage import write_tensors
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
write_tensors({"a": torch.zeros(2**21)}, Path(sys.argv[1]) / "x.safetensors")
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGXFSZ
    left = [path.name for path in tmp_path.iterdir()]
    assert len(left) == 1 and re.fullmatch(r"\.x\.safetensors\.[0-9a-f]{8}\.tmp", left[0]), left


def test_what_half_precision_cannot_hold_stays_in_float32():
    state = {
        "mean": torch.tensor([70_000.0, 1.0]),  # infinite as float16
        "scale": torch.full((2_048,), 1e-9),  # zero, and scores are divided by it
        "bias": torch.tensor([0.5, 0.0]),
    }
    for storage in ("float16", "int8"):
        packed = pack(state, storage)
        assert {name: value.dtype for name, value in packed.items()} == {
            "mean": torch.float32, "scale": torch.float32, "bias": torch.float16,
        }  # fmt: skip
        assert all(torch.equal(unpack(packed)[name], value) for name, value in state.items())
