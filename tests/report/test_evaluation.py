"""An evaluation's JSON is what files on disk hold, and comes back as it was."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rali.errors import InputError
from rali.metrics import METRICS
from rali.report.evaluation import Coverage, Evaluation, Statistics, Unscored, to_markdown

ONE = Statistics.of([1, 2, 3, 5, 4, 2.5], [1, 2, 3, 4, 5, 2])
FEW = Statistics.of([1, 3, 2, 4], [1, 2, 3, 4])


def test_json_has_the_keys_that_files_have() -> None:
    stored = Evaluation(
        {"one": ONE, "few": FEW},
        split="test",
        unlabelled=2,
        model="m",
        unscored=Unscored(1, 3.0),
        interval=Coverage(0.9, 0.5, {"one": 1.0, "few": 0.75}),
    ).to_dict()
    assert list(stored) == [
        "model", "split", "n", "unlabelled", "datasets", "average", "unscored", "interval",
    ]  # fmt: skip
    assert stored["n"] == 10
    assert stored["unscored"] == {"n": 1, "as": 3.0}
    assert stored["interval"] == {
        "level": 0.9, "radius": 0.5, "coverage": {"one": 1.0, "few": 0.75},
    }  # fmt: skip
    assert list(stored["datasets"]["one"]) == [*METRICS, "n", "logistic", "intervals"]
    assert len(stored["datasets"]["one"]["logistic"]) == 4
    assert stored["datasets"]["few"]["logistic"] is None
    assert list(stored["datasets"]["one"]["intervals"]) == list(METRICS)
    mean = (ONE.values["srcc"] + FEW.values["srcc"]) / 2
    assert stored["average"]["srcc"] == pytest.approx(mean)


def test_what_is_stored_is_read_back() -> None:
    evaluation = Evaluation({"one": ONE, "few": FEW}, "val", 1, model="m", unscored=Unscored(1, 3))
    asked = replace(evaluation, asked="2 texts", server={"requests": 3, "seeds": "held"})
    for each in (evaluation, asked, replace(evaluation, overlap=True)):
        assert Evaluation.from_dict(json.loads(json.dumps(each.to_dict()))) == each


def test_data_sets_that_overlap_have_no_average() -> None:
    evaluation = Evaluation({"all": ONE, "part": FEW}, overlap=True)
    assert list(evaluation.to_dict()) == ["split", "unlabelled", "datasets"]
    assert "average" not in to_markdown(evaluation)
    assert "average" in to_markdown(replace(evaluation, overlap=False))


@pytest.mark.parametrize("wrong", [[], {}, {"suite": "rali", "rows": []}, {"datasets": {"a": 1}}])
def test_something_else_is_refused(wrong: object) -> None:
    with pytest.raises(InputError, match="not an evaluation"):
        Evaluation.from_dict(wrong)  # type: ignore[arg-type]
