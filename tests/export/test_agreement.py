"""A distilled student's ONNX file: it agrees with torch, and one that does not is never kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from rali import Scorer, Student
from rali.errors import InputError
from rali.export import compare, export_checked
from rali.scoring.model_folder import onnx_file


@pytest.fixture(scope="module")
def exported(small_run, export_once, tmp_path_factory) -> tuple[Student, Path]:
    model = tmp_path_factory.mktemp("model")
    return small_run.student, export_once(small_run.student, onnx_file(model))


def test_onnx_agrees_with_torch_on_non_square_pictures(exported, photographs):
    student, onnx = exported
    agreement = compare(student, onnx, list(photographs.values()))
    assert agreement.max_difference <= 1e-4
    assert np.ptp(agreement.torch_scores) > 0, "a constant would agree trivially"


def test_a_file_that_disagrees_is_not_kept(small_run, photographs, tmp_path, monkeypatch):
    target = tmp_path / "model.onnx"
    target.write_bytes(b"the last good one")
    monkeypatch.setattr("rali.export.agreement.TOLERANCE", -1.0)
    with pytest.raises(InputError, match="differs from torch"):
        export_checked(small_run.student, target, [photographs["coffee"]])
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert target.read_bytes() == b"the last good one"


def test_onnx_file_follows_the_contract(exported):
    _, onnx = exported
    session = onnxruntime.InferenceSession(onnx)
    assert [(i.name, i.type) for i in session.get_inputs()] == [("pixel_values", "tensor(float)")]
    assert [o.name for o in session.get_outputs()] == ["score", "embedding"]
    for batch in (1, 3):
        score, embedding = session.run(
            None, {"pixel_values": np.zeros((batch, 3, 64, 64), np.float32)}
        )
        assert score.shape == (batch,) and embedding.shape == (batch, 24)
    properties = session.get_modelmeta().custom_metadata_map
    assert json.loads(properties["size"]) == 64
    assert json.loads(properties["score_range"]) == [1.0, 5.0]
    assert {p.name for p in onnx.parent.iterdir()} == {"model.onnx"}, "weights inside the file"


def test_scorer_reads_the_model_folder(exported, photographs):
    student, onnx = exported
    picture = photographs["coffee"]
    score = Scorer(onnx.parent.parent)(picture)
    assert score == pytest.approx(student.score([picture])[0], abs=1e-4)
