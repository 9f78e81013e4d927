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
from rali.teacher.predictor import TeacherPredictor, is_teacher
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


def predicted(folder: Path, text: str, *sources: Path) -> list[float | None]:
    (folder / "scores.csv").write_text(text, "utf-8")
    return [r.score for r in CsvPredictor(folder / "scores.csv").score_many(sources)]


def test_predictions_are_found_by_path_and_else_by_the_end_of_the_path(tmp_path):
    text = "image,predicted\na/x.png,3.5\nb/x.png,2\ny.png,1\n../c/z.png,4\nd\\w.png,5\n"
    sources = [
        tmp_path / "a/x.png",
        Path("/else/y.png"),
        Path("/else/x.png"),
        Path("/else/b/x.png"),
        Path("/else/c/z.png"),
        Path("/else/d/w.png"),
    ]
    assert predicted(tmp_path, text, *sources) == [3.5, 1.0, None, 2.0, 4.0, 5.0]


def test_a_prediction_is_never_taken_for_a_picture_of_another_folder(tmp_path):
    for name in ("a/0.png", "e/a/0.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    text = "image,score\na/0.png,5\n"
    a, b, other = (tmp_path / name for name in ("a/0.png", "b/0.png", "e/a/0.png"))
    assert predicted(tmp_path, text, a, b) == [5.0, None]
    assert predicted(tmp_path, text, b) == [None]
    assert predicted(tmp_path, text, other) == [None]  # the row's own path leads to a file
    assert predicted(tmp_path, "image,score\n0.png,5\n", a, b) == [None, None]  # which of them?
    assert predicted(tmp_path, "image,score\n/gone/a/0.png,5\n", a) == [None]
    with pytest.raises(InputError, match=r"1 of 2 pictures have no score: .*b.0\.png"):
        evaluate_names(tmp_path, text, [a, b])


def evaluate_names(folder: Path, text: str, pictures: list[Path]) -> None:
    (folder / "scores.csv").write_text(text)
    rows = [Row(path, 1.0 + place, dataset="d") for place, path in enumerate(pictures)]
    write_manifest(rows, folder / "m.csv")
    evaluate(folder / "scores.csv", [folder / "m.csv"])


def test_what_rali_score_writes_is_read_from_any_folder(photograph_files, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from rali.cli import app

    for folder in ("a", "b"):
        for place, path in enumerate(photograph_files[:3]):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{place}.png").write_bytes(path.read_bytes())
    (tmp_path / "b/9.png").write_bytes(b"broken")
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["score", "-r", "a", "b", "-o", "results/scores.csv"])
    assert done.exit_code == 1  # one is broken
    pictures = [*sorted(tmp_path.glob("a/*")), *sorted(tmp_path.glob("b/*"))]
    for working_folder in (tmp_path, tmp_path / "results", Path("/")):
        monkeypatch.chdir(working_folder)
        found = list(CsvPredictor(tmp_path / "results/scores.csv").score_many(pictures))
        assert [r.score is None for r in found] == [False] * 6 + [True]
        assert "not a picture" in str(found[-1].error)
    rows = [Row(path, 1.0 + place % 4, dataset="d") for place, path in enumerate(pictures)]
    write_manifest(rows, tmp_path / "m.csv")
    with pytest.raises(InputError, match="1 of 7 pictures have no score"):
        evaluate(tmp_path / "results/scores.csv", [tmp_path / "m.csv"])
    evaluation, _ = evaluate(tmp_path / "results/scores.csv", [tmp_path / "m.csv"], unscored=3.0)
    assert evaluation.unscored is not None


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
    with pytest.raises(InputError, match=r"row 3.*already in row 2"):
        CsvPredictor(tmp_path / "scores.csv")


def test_a_teacher_is_told_from_a_student(tmp_path):
    for kind, wanted in (("rali", False), ("qwen2_5_vl", True)):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
        assert is_teacher(tmp_path) is wanted
    assert not is_teacher(tmp_path / "nothing")


def test_nano_is_the_packaged_teacher_unless_a_folder_has_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert isinstance(predictor("nano", asked={"samples": 2}), TeacherPredictor)
    (tmp_path / "nano").mkdir()
    assert predictor("nano") == "nano"  # a student's folder


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("--prompt", {"asked": {"prompt": "q-insight/score"}}),
        ("--max-pixels", {"engine": str, "engine_options": ["max_pixels"]}),
    ],
)
def test_a_teachers_option_for_what_is_no_teacher_is_refused(option, given):
    with pytest.raises(InputError, match=f"{option} is for a teacher, which builtin is not.$"):
        predictor("builtin", **given)
    with pytest.raises(InputError, match=f"{option} is for a teacher, .* type: teacher:me/judge"):
        predictor("me/judge", **given)


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
