"""What can be evaluated: from Python and by a word on the command line."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest

from rali import Scorer
from rali.cli._model import predictor
from rali.data.manifest import Row, write_manifest
from rali.errors import InputError
from rali.evaluation import predictors
from rali.evaluation.evaluate import evaluate
from rali.evaluation.predictors import CsvPredictor, StudentPredictor, find_predictor
from rali.teacher.predictor import is_teacher
from tiny_onnx import write_model


def test_the_example_of_the_module_runs(photograph_files, tmp_path, monkeypatch, capsys):
    rows = [Row(path, 1.0 + i, dataset="d") for i, path in enumerate(photograph_files)]
    write_manifest(rows, tmp_path / "manifest.csv")
    monkeypatch.chdir(tmp_path)
    example = predictors.__doc__.partition("\n\n    ")[2]
    names: dict = {}
    exec(textwrap.dedent("    " + example), names)
    assert list(names["scores"]) == photograph_files
    assert f"{names['evaluation'].average['srcc']}" in capsys.readouterr().out


def test_a_student_in_torch_scores_as_its_onnx_file_does(photograph_files, tmp_path):
    student = pytest.importorskip("rali.student.student")
    (tmp_path / "bad.png").write_text("not a picture")
    sources = [photograph_files[0], tmp_path / "bad.png", *photograph_files[1:3]]
    torch = StudentPredictor(student.Student.from_pretrained("builtin"), batch_size=3)
    found, expected = list(torch.score_many(sources)), list(Scorer().score_many(sources))
    assert [result.source for result in found] == sources
    assert [result.score is None for result in found] == [False, True, False, False]
    assert found[1].error == expected[1].error
    for one, other in zip(found, expected, strict=True):
        assert one.score == (other.score and pytest.approx(other.score, abs=1e-4))


def test_a_predictor_and_the_name_of_its_model_give_the_same(photograph_files, tmp_path):
    rows = [Row(path, 1.0 + i, dataset="d") for i, path in enumerate(photograph_files)]
    write_manifest(rows, tmp_path / "manifest.csv")
    by_name, scores = evaluate("builtin", [tmp_path / "manifest.csv"])
    by_object, same = evaluate(Scorer(), [tmp_path / "manifest.csv"])
    assert np.allclose(list(scores.values()), list(same.values()), atol=1e-5)
    assert by_name.model == by_object.model == "builtin"
    assert by_name.interval == by_object.interval is not None
    assert by_name.datasets["d"].values["srcc"] == by_object.datasets["d"].values["srcc"]


def test_predictions_by_path_and_by_name(tmp_path):
    (tmp_path / "scores.csv").write_text("image,predicted\na/x.png,3.5\nb/x.png,2\nc/y.png,1\n")
    sources = [tmp_path / "a/x.png", Path("/else/y.png"), Path("/else/x.png")]
    found = list(CsvPredictor(tmp_path / "scores.csv").score_many(sources))
    assert [r.score for r in found] == [3.5, 1.0, None]  # two are called x.png
    assert "scores.csv" in (found[2].error or "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("picture,value\nx,1\n", "need `image`"), ("image,score\nx.png,good\n", "row 2.*'good'")],
)
def test_a_csv_without_predictions_is_refused(text, expected, tmp_path):
    (tmp_path / "scores.csv").write_text(text)
    with pytest.raises(InputError, match=expected):
        find_predictor(tmp_path / "scores.csv")


def test_two_predictions_of_one_picture_are_refused(tmp_path):
    (tmp_path / "scores.csv").write_text("image,predicted\nx.png,3.5\n./x.png,2\n")
    with pytest.raises(InputError, match=r"row 3.*another prediction"):
        CsvPredictor(tmp_path / "scores.csv")


def test_a_teacher_is_told_from_a_student(tmp_path):
    for kind, wanted in (("rali", False), ("qwen2_5_vl", True)):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
        assert is_teacher(tmp_path) is wanted
    assert not is_teacher(tmp_path / "nothing")


def test_a_prompt_for_what_is_no_teacher_is_refused():
    with pytest.raises(InputError, match="--prompt is for a teacher, which builtin is not"):
        predictor("builtin", prompt="q-insight/score")


def test_pyiqa_that_is_not_there_is_a_sentence():
    pytest.importorskip("torch")
    try:
        import pyiqa  # noqa: F401
    except ImportError:
        with pytest.raises(InputError, match="pip install pyiqa"):
            find_predictor("pyiqa:musiq")


def test_provider_and_threads_are_for_onnx_files(tmp_path):
    file = write_model(tmp_path / "m.onnx")
    scorer = predictor(str(file), 4, provider="CPUExecutionProvider", threads=1)
    assert isinstance(scorer, Scorer) and (scorer.batch_size, scorer.threads) == (4, 1)
    with pytest.raises(InputError, match="has no NoExecutionProvider"):
        predictor(str(file), provider="NoExecutionProvider")
    for other in ("pyiqa:niqe", "teacher:nano", str(tmp_path / "scores.csv")):
        with pytest.raises(InputError, match="has no ONNX file"):
            predictor(other, threads=1)
