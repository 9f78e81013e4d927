"""What ships: weights within their limits, and a built-in student as good as its card says."""

from __future__ import annotations

from pathlib import Path

import pytest

from rali import Scorer
from rali.data.importers import biq2021
from rali.metrics import srcc

ROOT = Path(__file__).parents[2]
MIB = 2**20


def test_shipped_weights_are_small():
    shipped = [
        path
        for folder in ("rali", "teacher")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".safetensors", ".onnx")
    ]
    assert len(shipped) >= 4
    sizes = {str(path): path.stat().st_size for path in shipped}
    assert max(sizes.values()) <= 5 * 2**20, sizes
    assert sum(sizes.values()) <= 20 * MIB, sizes


@pytest.mark.data
@pytest.mark.slow
def test_the_built_in_is_the_student_of_its_card(data_dir):
    from rali import Student

    evaluation = Student.from_pretrained("builtin").config.evaluation
    assert evaluation is not None
    rows = [row for row in biq2021.read(data_dir / "biq2021") if row.split == "test"]
    some = [row for row in rows if row.score is not None][::4]
    predicted = Scorer()([row.image for row in some])
    expected = evaluation.datasets["biq2021"].values["srcc"]
    assert srcc(predicted, [row.score for row in some]) == pytest.approx(expected, abs=0.07)
