"""Evaluation: what a user gets from `rali evaluate`, and what stops it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from rali.cli import evaluate as command
from rali.data.manifest import Row, write_manifest
from rali.errors import InputError
from rali.evaluation import evaluate as evaluation_module
from rali.evaluation.evaluate import evaluate, evaluate_predictions
from rali.metrics import srcc
from rali.report.evaluation import Evaluation, Unscored, to_markdown, to_table


@dataclass
class Result:
    source: Any
    score: float | None
    error: str | None = None


class Brightness:
    """A fake scorer: 1 + 4 × mean level; a picture it cannot open is a row with an error."""

    def score_many(self, sources: list[Path]) -> list[Result]:
        results = []
        for source in sources:
            try:
                level = float(np.asarray(Image.open(source)).mean())
                results.append(Result(source, 1 + 4 * level / 255))
            except OSError:
                results.append(Result(source, None, "not a picture"))
        return results


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = []
    for index in range(24):
        path = tmp_path / f"{index}.png"
        Image.new("RGB", (20, 10), (10 * index,) * 3).save(path)
        rows.append(
            Row(
                path,
                score=1 + (index * 7 % 24) / 8 if index % 3 else 1 + index / 8,
                dataset="one" if index < 12 else "two",
                split="test" if index % 2 else "train",
            )
        )
    rows.append(Row(tmp_path / "unlabelled.png", dataset="three", split="test"))
    path = tmp_path / "manifest.csv"
    write_manifest(rows, path)
    return path


def test_data_sets_are_measured_apart_and_averaged(manifest: Path) -> None:
    evaluation, predictions = evaluate(Brightness(), [manifest])
    assert list(evaluation.datasets) == ["one", "two"]
    assert evaluation.unlabelled == 1
    assert [statistics.n for statistics in evaluation.datasets.values()] == [12, 12]
    mean = np.mean([statistics.values["srcc"] for statistics in evaluation.datasets.values()])
    assert evaluation.average["srcc"] == pytest.approx(mean)
    mos = [1 + (index * 7 % 24) / 8 if index % 3 else 1 + index / 8 for index in range(12)]
    predicted = [predictions[(manifest.parent / f"{index}.png").resolve()] for index in range(12)]
    assert evaluation.datasets["one"].values["srcc"] == pytest.approx(srcc(predicted, mos))


def test_split_restricts(manifest: Path) -> None:
    evaluation, predictions = evaluate(Brightness(), [manifest], split="test")
    assert evaluation.n == len(predictions) == 12
    assert evaluation.split == "test"


def test_a_split_that_is_not_there_names_those_that_are(manifest: Path) -> None:
    with pytest.raises(InputError, match="test, train"):
        evaluate(Brightness(), [manifest], split="val")


def test_a_manifest_that_adds_nothing_is_named(manifest: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    write_manifest([Row(tmp_path / "a.png", score=3.0, dataset="x", split="train")], other)
    with pytest.raises(InputError, match=r"other\.csv is in split 'test'"):
        evaluate(Brightness(), [manifest, other], split="test")


def _two_manifests(folder: Path, dataset: str) -> list[Path]:
    """Two sets in a/labels.csv and b/labels.csv: right within each, and of other ranges."""
    paths = []
    for place, name in enumerate("ab"):
        (folder / name).mkdir()
        rows = []
        for index in range(4):
            path = folder / name / f"{index}.png"
            Image.new("RGB", (20, 10), (30 * index,) * 3).save(path)
            rows.append(Row(path, score=1 + 2 * place + index / 4, dataset=dataset))
        paths.append(folder / name / "labels.csv")
        write_manifest(rows, paths[-1])
    return paths


def test_manifests_that_name_no_data_set_are_not_ranked_together(tmp_path: Path) -> None:
    evaluation, _ = evaluate(Brightness(), _two_manifests(tmp_path, ""))
    found = {name: each.values["srcc"] for name, each in evaluation.datasets.items()}
    assert found == {"a/labels.csv": pytest.approx(1), "b/labels.csv": pytest.approx(1)}


def test_a_data_set_of_several_manifests_is_told(tmp_path: Path) -> None:
    evaluation, _ = evaluate(Brightness(), _two_manifests(tmp_path, "labels"))
    assert evaluation.datasets["labels"].values["srcc"] < 0.9
    assert evaluation.pooled == {"labels": 2}
    assert "compared with each other: labels of 2." in to_markdown(evaluation)
    assert Evaluation.from_dict(evaluation.to_dict()) == evaluation


def test_no_labels_is_an_error(tmp_path: Path) -> None:
    write_manifest([Row(tmp_path / "a.png", dataset="x")], tmp_path / "m.csv")
    with pytest.raises(InputError, match="has a score"):
        evaluate(Brightness(), [tmp_path / "m.csv"])


def test_unreadable_pictures_are_named_five_at_most(manifest: Path) -> None:
    for index in range(7):
        (manifest.parent / f"{index}.png").write_text("no picture")
    with pytest.raises(InputError, match=r"7 of 24 pictures.*0\.png \(not a picture\).*and 2 more"):
        evaluate(Brightness(), [manifest])


def test_pictures_without_a_score_may_count_as_one_and_are_counted(manifest: Path) -> None:
    (manifest.parent / "3.png").write_text("no picture")
    evaluation, predictions = evaluate(Brightness(), [manifest], unscored=3.0)
    assert evaluation.n == 24 and evaluation.unscored == Unscored(1, 3.0)
    assert predictions[manifest.parent / "3.png"] == 3.0
    assert "no score and count as 3: 1." in to_markdown(evaluation)
    for index in range(24):
        (manifest.parent / f"{index}.png").write_text("no picture")
    with pytest.raises(InputError, match="24 of 24"):
        evaluate(Brightness(), [manifest], unscored=3.0)


def _rows(scores: list[float], dataset: str = "set") -> list[Row]:
    return [Row(Path(f"/p/{i}.png"), score=s, dataset=dataset) for i, s in enumerate(scores)]


def test_nan_prediction_names_the_picture() -> None:
    rows = _rows([1, 2, 3, 4])
    predictions = {row.image: 2.0 for row in rows} | {Path("/p/2.png"): float("nan")}
    with pytest.raises(InputError, match=r"/p/2\.png is nan"):
        evaluate_predictions(predictions, rows)


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ({0: 1.0, 1: 2.0}, r"no prediction for /p/2\.png"),
        ({0: 3.1, 1: 3.1, 2: 3.1}, r"'set': All predictions are equal \(3.1\)"),
    ],
)
def test_incomplete_or_constant_predictions(predictions: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_predictions(
            {Path(f"/p/{i}.png"): s for i, s in predictions.items()}, _rows([1, 2, 3])
        )


def test_the_same_manifest_twice_is_an_error(manifest: Path) -> None:
    with pytest.raises(InputError, match="listed twice"):
        evaluate(Brightness(), [manifest, manifest])


def test_markdown_shows_both_plccs_intervals_and_escapes_bars() -> None:
    rows = _rows([1, 2, 3, 5, 4, 2.5], dataset="a|b")
    predictions = {row.image: float(i) for i, row in enumerate(rows)}
    text = to_markdown(evaluate_predictions(predictions, rows))
    assert "PLCC (raw)" in text
    assert "PLCC (logistic)" in text
    assert "a\\|b" in text
    assert "[" in text


def test_a_logistic_that_was_not_fitted_is_named() -> None:
    few, many = _rows([1, 3, 2, 4], dataset="few"), _rows([1, 2, 3, 5, 4, 2.5], dataset="many")
    many = [replace(row, image=Path(f"/q{row.image}")) for row in many]
    predictions = {row.image: float(i) for i, row in enumerate(few + many)}
    text = to_markdown(evaluate_predictions(predictions, few + many))
    assert "No logistic could be fitted to few:" in text
    only = to_markdown(evaluate_predictions(predictions, many))
    assert "No logistic" not in only


def test_the_table_shows_every_label_and_name_as_it_is() -> None:
    rows = _rows([1, 2, 3, 5, 4, 2.5], dataset="[red]set")
    predictions = {row.image: float(i) for i, row in enumerate(rows)}
    evaluation = replace(evaluate_predictions(predictions, rows), model="[bold]m")
    file = io.StringIO()
    Console(width=80, file=file).print(to_table(evaluation))
    shown = file.getvalue()
    for word in ("[bold]m", "[red]set", "(raw)", "(logistic)", "KRCC", "RMSE"):
        assert word in shown
    low, high = evaluation.datasets["[red]set"].intervals["rmse"]
    assert f"[{low:.2f}, {high:.2f}]" in shown


def _run(arguments: list[str]) -> Any:
    app = typer.Typer()
    app.command()(command.evaluate)
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_module, "find_predictor", lambda *_: Brightness())


@pytest.mark.usefixtures("fake_model")
def test_json_is_one_object_and_nothing_else(manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = _run(["m", str(manifest), "--split", "test", "--json", "--output", str(out)])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    for numbers in found["datasets"].values():
        assert {"srcc", "plcc", "plcc_logistic", "krcc", "rmse", "n"} <= set(numbers)
    assert json.loads((out / "evaluation.json").read_text()) == found
    assert "PLCC (logistic)" in (out / "evaluation.md").read_text()
    with (out / "predictions.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 12
    assert all(
        float(line["error"])
        == pytest.approx(float(line["predicted"]) - float(line["score"]), abs=1e-4)
        for line in lines
    )
    with Image.open(out / "scatter.png") as picture:
        assert picture.format == "PNG"


@pytest.mark.usefixtures("fake_model")
def test_table_names_every_data_set_and_the_skipped_row(manifest: Path) -> None:
    run = _run(["m", str(manifest)])
    assert run.exit_code == 0, run.output
    for word in ("one", "two", "average", "without a score, skipped: 1"):
        assert word in run.stdout


@pytest.mark.usefixtures("fake_model")
def test_a_folder_that_cannot_be_made_is_said_before_scoring(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_early(*_: Any, **__: Any) -> None:
        raise AssertionError("scored before looking at --output")

    monkeypatch.setattr(evaluation_module, "find_predictor", too_early)
    for bad in (manifest, manifest / "below"):
        run = _run(["m", str(manifest), "--output", str(bad)])
        assert isinstance(run.exception, InputError), run.exception
        assert "--output" in str(run.exception)
    run = _run(["m", str(manifest), "--output", str(manifest.with_name("found.json"))])
    assert "names a file; it is a folder" in str(run.exception)
    assert not manifest.with_name("found.json").exists()


def test_a_model_folder_that_was_not_exported_is_scored_with_torch(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student = pytest.importorskip("rali.student.student")

    class Mean:
        def to(self, _: str) -> Mean:
            return self

        def score(self, pictures: list[np.ndarray], batch_size: int) -> np.ndarray:
            assert len(pictures) <= batch_size
            return np.array([1 + 4 * picture.mean() / 255 for picture in pictures])

    monkeypatch.setattr(student.Student, "from_pretrained", lambda _: Mean())
    folder = tmp_path / "model"
    (folder / "onnx").mkdir(parents=True)  # an empty folder is no export
    (folder / "model.safetensors").touch()
    found, _ = evaluate(folder, [manifest], batch_size=5)
    expected, _ = evaluate(Brightness(), [manifest])
    for name, statistics in found.datasets.items():
        wanted = expected.datasets[name].values["rmse"]
        assert statistics.values["rmse"] == pytest.approx(wanted, abs=1e-9)
    (manifest.parent / "3.png").write_text("no picture")
    with pytest.raises(InputError, match=r"1 of 24 pictures.*3\.png \("):
        evaluate(folder, [manifest])


def test_a_real_onnx_file_is_evaluated(manifest: Path, tmp_path: Path) -> None:
    scorer = pytest.importorskip("rali.scoring.scorer")
    assert scorer.Scorer
    path = tmp_path / "mean.onnx"
    _write_onnx(path)
    run = _run([str(path), str(manifest), "--json"])
    assert run.exit_code == 0, run.output
    # the model is 1 + 4 × mean level, as the fake is
    expected, _ = evaluate(Brightness(), [manifest])
    for name, numbers in json.loads(run.stdout)["datasets"].items():
        wanted = expected.datasets[name].values["plcc"]
        assert numbers["plcc"] == pytest.approx(wanted, abs=1e-4)


def _write_onnx(path: Path) -> None:
    """The smallest file that keeps the scorer's contract: score = 1 + 4 × mean of the pixels."""
    import onnx
    from onnx import TensorProto, helper

    def constant(name: str, values: list[float]) -> Any:
        return helper.make_tensor(name, TensorProto.FLOAT, [], values)

    nodes = [
        helper.make_node("ReduceMean", ["pixel_values", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "four"], ["scaled"]),
        helper.make_node("Add", ["scaled", "one"], ["score"]),
        helper.make_node("ReduceMean", ["pixel_values", "space"], ["embedding"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 3]),
        ],
        [
            helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
            helper.make_tensor("space", TensorProto.INT64, [2], [2, 3]),
            constant("four", [4.0]),
            constant("one", [1.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    facts = {
        "rali_version": "0.1.0",
        "size": 8,
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "score_range": [1, 5],
        "weights_sha256": "",
        "model_type": "rali",
    }
    helper.set_model_props(model, {key: json.dumps(value) for key, value in facts.items()})
    onnx.save(model, path)
