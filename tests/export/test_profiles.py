"""`rali export --for`: files hold what a provider wants, and score as the model does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

from rali import Scorer
from rali.cli import app
from rali.errors import InputError
from rali.export import export_checked
from rali.export.profiles import PROFILES, find_profile
from rali.scoring.session import open_session
from small import tower_student


def zero_points(file: Path) -> set[int]:
    """All that the file's 8-bit integers have."""
    graph = onnx.load(str(file)).graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    found = [
        constants[node.input[2]]
        for node in graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2
    ]
    assert found
    return {int(value) for array in found for value in np.ravel(array)}


@pytest.mark.parametrize("name", PROFILES)
def test_a_file_is_as_its_provider_wants_it(name: str, pictures, tmp_path: Path) -> None:
    student, some = tower_student("open_clip"), pictures[:8]
    profile, precision = find_profile(name, "int8" if name in ("tensorrt", "nnapi") else None)
    file = tmp_path / "model.onnx"
    export_checked(
        student,
        file,
        some,
        precision=precision,
        fused=profile.fused,
        batch=profile.batch,
        symmetric=profile.symmetric,
    )
    model = onnx.load(str(file))
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    first = model.graph.input[0].type.tensor_type.shape.dim[0]
    assert first.dim_value == (profile.batch or 0)
    if precision == "int8":
        assert (zero_points(file) == {0}) == profile.symmetric
    scorer = Scorer(file, batch_size=3)  # whatever the batch of the file
    assert np.isfinite(scorer(some)).all()
    session = open_session(file, None, threads=1)
    count = profile.batch or len(some)
    pixels = np.stack([scorer.preprocess(picture) for picture in some[:count]])
    (scores,) = session.run(["score"], {"pixel_values": pixels})
    np.testing.assert_allclose(scores, student.score(some[:count]), atol=0.2)


def test_what_a_provider_does_not_take_is_refused(tmp_path: Path) -> None:
    assert find_profile("qnn")[1] == "int8" and find_profile("coreml", "fp16")[1] == "fp16"
    with pytest.raises(InputError, match="coreml does not take int8; it takes fp32, fp16"):
        find_profile("coreml", "int8")
    arguments = ["export", "builtin", "-o", str(tmp_path / "a.onnx"), "--for", "tpu"]
    run = CliRunner().invoke(app, arguments)
    assert "--for is 'tpu'; expected openvino, tensorrt" in str(run.exception)
