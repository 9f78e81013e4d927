"""Calibrated intervals: the quantile by hand, coverage where theory promises it, files."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from rali import Scorer
from rali.cli import app
from rali.data.manifest import Row, write_manifest
from rali.errors import InputError
from rali.evaluation.evaluate import evaluate
from rali.scoring.intervals import Interval, calibrate, read_interval, write_interval
from tiny_onnx import write_model


def test_the_radius_is_the_right_order_statistic():
    interval = Interval(tuple(i / 10 for i in range(1, 20)))  # 19 errors, 0.1 to 1.9
    assert interval.radius(0.9) == pytest.approx(1.8)  # the ⌈20 · 0.9⌉ = 18th
    assert interval.radius(0.5) == pytest.approx(1.0)
    assert interval.radius(0.95) == pytest.approx(1.9)
    with pytest.raises(InputError, match=r"0\.99 needs 99 calibration pictures"):
        interval.radius(0.99)
    with pytest.raises(InputError, match="between 0 and 1"):
        interval.radius(90)


def test_intervals_stay_inside_the_score_range():
    interval = Interval((0.5,) * 30)
    assert interval.around(3.0, 0.9) == (2.5, 3.5)
    assert interval.around(4.8, 0.9) == (4.3, 5.0)
    assert interval.around(1.2, 0.9) == (1.0, 1.7)


@settings(max_examples=20, deadline=None)
@given(level=st.sampled_from([0.5, 0.8, 0.9]), seed=st.integers(0, 1000))
def test_coverage_keeps_its_promise_on_average(level, seed):
    draw = np.random.default_rng(seed)
    covered = []
    for _ in range(200):
        mos, noise = draw.uniform(2, 4, 80), draw.standard_t(3, 80)
        predicted = mos + 0.3 * noise
        interval = calibrate(list(predicted[:40]), list(mos[:40]))
        radius = interval.radius(level)
        covered.append(np.mean(np.abs(predicted[40:] - mos[40:]) <= radius))
    assert level - 0.03 <= np.mean(covered) <= level + 0.06


def test_too_few_pictures_are_refused():
    with pytest.raises(InputError, match="20 pictures or more"):
        calibrate([1.0] * 5, [1.0] * 5)


def test_a_file_is_read_as_written(tmp_path):
    interval = Interval((0.1, 0.2), (1.0, 5.0), "koniq.csv, val")
    write_interval(interval, tmp_path)
    assert read_interval(tmp_path) == interval
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").touch()
    assert read_interval(tmp_path / "onnx" / "model.onnx") == interval
    (tmp_path / "interval.json").write_text("{}")
    with pytest.raises(InputError, match="not a file of `rali calibrate`"):
        read_interval(tmp_path)


def test_an_interval_beside_one_file_says_whose_it_is(tmp_path):
    file = write_model(tmp_path / "a.onnx", weights_sha256="of a")
    (tmp_path / "interval.json").write_text('{"score_range": [1, 5], "errors": [0.1]}')
    with pytest.raises(InputError, match="nobody knows which model's"):
        Scorer(file).interval.radius(0.5)
    (tmp_path / "interval.json").unlink()
    write_interval(Interval((0.1,), weights_sha256="of a"), file)
    write_interval(Interval((0.9,), weights_sha256="of b"), tmp_path / "b.onnx")
    assert Scorer(file).interval.radius(0.5) == 0.1
    folder = write_model(tmp_path / "m" / "onnx" / "model.onnx", weights_sha256="c").parents[1]
    write_interval(Interval((0.9,)), folder)  # a folder's own, of a version that did not say
    assert Scorer(folder).interval.radius(0.5) == 0.9
    write_interval(Interval((0.9,), weights_sha256="of b"), folder)
    with pytest.raises(InputError, match="another model's"):
        Scorer(folder).interval.radius(0.5)


def test_a_model_without_an_interval_says_what_to_type(tmp_path):
    with pytest.raises(InputError, match="Type: rali calibrate"):
        read_interval(tmp_path)


def test_calibrate_score_evaluate(photograph_files, tmp_path):
    from rali.data.degraded import degrade_folder

    model = tmp_path / "model"
    shutil.copytree(str(files("rali") / "builtin"), model)
    (model / "interval.json").unlink()
    rows = degrade_folder(photograph_files[:2], tmp_path / "pictures", size=96, per_photograph=12)
    runner = CliRunner()
    manifest = [Row(r.image, r.score, dataset="d", split="val") for r in rows]
    write_manifest(manifest, tmp_path / "val.csv")
    done = runner.invoke(app, ["calibrate", str(model), str(tmp_path / "val.csv")])
    assert done.exit_code == 0, done.output
    assert f"{len(rows)} pictures" in done.output
    picture = str(photograph_files[0])
    arguments = ["score", picture, "-m", str(model), "--interval", "0.8", "--format", "jsonl"]
    row = json.loads(runner.invoke(app, arguments).stdout)
    assert list(row) == ["image", "score", "low", "high", "error"]
    assert row["low"] <= row["score"] <= row["high"]
    assert read_interval(model).weights_sha256 == Scorer(model).weights_sha256 != ""
    evaluation, _ = evaluate(model, [tmp_path / "val.csv"])
    assert evaluation.interval.coverage["d"] >= 0.9  # on the very pictures it came from
    shown = runner.invoke(app, ["evaluate", str(model), str(tmp_path / "val.csv")]).output
    assert "90% interval" in " ".join(shown.split())


def test_without_a_level_there_are_no_interval_columns(photograph_files):
    arguments = ["score", str(photograph_files[0]), "--format", "csv"]
    assert CliRunner().invoke(app, arguments).stdout.startswith("image,score,error\n")


def test_the_built_in_model_has_an_interval():
    assert read_interval("builtin").radius(0.9) < 1.0
    assert Path(str(files("rali") / "builtin" / "interval.json")).is_file()
