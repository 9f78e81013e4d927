"""The papers' figures: what they show, and that the commands write them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from rali.cli import app
from rali.data.manifest import Row, write_manifest
from rali.distill.unfitted import scores_before_and_after
from rali.errors import InputError
from rali.evaluation.analysis import calibration_curve, map_2d
from rali.evaluation.published import published_sizes
from rali.report.evaluation import Evaluation, Statistics
from rali.report.plots import pareto
from rali.student.student import Student


@pytest.fixture(scope="module")
def labelled(photograph_files, tmp_path_factory):
    from rali.data.degraded import degrade_folder

    folder = tmp_path_factory.mktemp("figures")
    rows = degrade_folder(photograph_files[:2], folder / "pictures", size=96, per_photograph=10)
    splits = ["train", "val"]
    contents = sorted({row.content for row in rows})
    rows = [
        Row(r.image, r.score, dataset="d", content=r.content,
            split=splits[contents.index(r.content)])
        for r in rows
    ]  # fmt: skip
    write_manifest(rows, folder / "manifest.csv")
    return folder / "manifest.csv"


def is_png(path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def test_a_calibration_curve_by_hand():
    predicted, true, error = calibration_curve([4, 1, 2, 3], [5, 1, 3, 3], bins=2)
    assert predicted.tolist() == [1.5, 3.5]
    assert true.tolist() == [2.0, 4.0]
    assert error.tolist() == pytest.approx([1.0, 1.0])  # √2 / √2
    with pytest.raises(InputError, match="needs 20 pictures; got 4"):
        calibration_curve([4, 1, 2, 3], [5, 1, 3, 3])


def test_a_map_keeps_groups_apart():
    draw = np.random.default_rng(0)
    features = np.concatenate([draw.normal(0, 0.1, (20, 8)), draw.normal(3, 0.1, (20, 8))])
    points = map_2d(features)
    inside = np.linalg.norm(points[:20] - points[:20].mean(0), axis=1).mean()
    assert np.linalg.norm(points[:20].mean(0) - points[20:].mean(0)) > 2 * inside


@pytest.mark.slow
def test_efficiency_measures_each_model_and_size(photograph_files, tmp_path):
    out = tmp_path / "efficiency.png"
    arguments = ["--count", "2", "--repeats", "1", "--batch-size", "1", "--batch-size", "2"]
    folder = str(photograph_files[0].parent)
    done = CliRunner().invoke(
        app, ["figure", "efficiency", "builtin", "--pictures", folder, *arguments, "-o", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert is_png(out)
    with out.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["batch_size"] for row in rows] == ["1", "2"]
    assert all(0 < float(row["seconds_per_picture"]) < 30 for row in rows)
    assert all(float(row["peak_MiB"]) > 20 for row in rows)


@pytest.mark.slow
def test_space_and_calibration_of_the_builtin_model(labelled, tmp_path):
    for name, more in (("space", []), ("calibration", ["--bins", "4"])):
        out = tmp_path / f"{name}.png"
        done = CliRunner().invoke(
            app, ["figure", name, "builtin", str(labelled), *more, "-o", str(out)]
        )
        assert done.exit_code == 0, done.output
        assert is_png(out)


@pytest.mark.slow
def test_scores_before_and_after_fitting(labelled, tmp_path):
    from rali.data.manifest import read_manifest
    from rali.distill.fit import FitConfig
    from rali.distill.pipeline import DistillConfig, distill

    rows = read_manifest(labelled)
    config = DistillConfig(encoder="nano", fit=FitConfig(steps=60))
    config.align.enabled = False
    distill(config, rows, [], tmp_path / "run")
    out = tmp_path / "scores.png"
    done = CliRunner().invoke(
        app, ["figure", "scores", str(tmp_path / "run"), str(labelled), "-o", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert is_png(out)
    student = Student.from_pretrained(tmp_path / "run" / "model")
    train = [row for row in rows if row.split == "train"]
    mos = np.array([row.score for row in train])
    before, after = scores_before_and_after(
        student, student.embed([row.image for row in train]), tmp_path / "run"
    )
    # The fit keeps its start where validation asks for no change.
    assert np.mean((after - mos) ** 2) < np.mean((before - mos) ** 2) + 1e-5
    with pytest.raises(InputError, match=r"bases\.npz"):
        scores_before_and_after(student, np.zeros((1, student.config.embed_dim)), tmp_path)


def test_parameters(tmp_path):
    for name, predicted in (("small", [1, 3, 2, 4]), ("large", [1, 2, 3, 4])):
        evaluation = Evaluation({"d": Statistics.of(predicted, [1, 2, 3, 4])}, model=name)
        (tmp_path / f"{name}.json").write_text(json.dumps(evaluation.to_dict()))
    out = tmp_path / "size.png"
    items = [f"2={tmp_path}/small.json", f"304={tmp_path}/large.json"]
    done = CliRunner().invoke(app, ["figure", "parameters", *items, "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert is_png(out)
    wrong = CliRunner().invoke(app, ["figure", "parameters", "small", "-o", str(out)])
    assert isinstance(wrong.exception, InputError)
    beside = ["figure", "parameters", *items, "--published", "-o", str(out)]
    assert CliRunner().invoke(app, beside).exit_code == 0
    assert "not 'krcc'" in str(CliRunner().invoke(app, [*beside, "--metric", "krcc"]).exception)
    assert published_sizes("srcc")["RALI, published"] == (304, 0.779)


def test_the_front_holds_what_no_other_point_beats():
    points = [(1, 0.5), (2, 0.4), (3, 0.9), (3, 0.8), (9, 0.9)]
    assert pareto(points, "upper left") == [(1, 0.5), (3, 0.9)]
    points = [(100, 40), (80, 30), (90, 50), (20, 30), (100, 60)]  # speed against memory
    assert pareto(points, "lower right") == [(80, 30), (100, 40)]
