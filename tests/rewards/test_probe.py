"""`rali probe`: its patterns, its verdicts, and that its ascent climbs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from functools import partial

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from rali.cli import app
from rali.pictures.patterns import artefacts, mosaic, non_photographs, other_patterns, square
from rali.pictures.samples import IN_COLOUR, sample_photographs
from rali.rewards import RaliReward
from rali.rewards.gradients import ascend, field_of_view
from rali.rewards.no_grad import rewards_of
from rali.rewards.probe import _Trial, _try_field_of_view, probe
from rali.student.student import Student, StudentConfig
from small import small_encoder, with_random_bases


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    return sample_photographs(IN_COLOUR)


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    """The folder of a student with random weights that looks at 64 pixels."""
    encoder = small_encoder()
    config = StudentConfig(
        encoder.spec, encoder.preprocess.to_dict(), encoder.dim, pca_dim=8, bases=20
    )
    student = with_random_bases(Student(config, encoder.image))
    return student.save_pretrained(tmp_path_factory.mktemp("small"))


def test_patterns_are_pictures_that_depend_on_the_seed_only():
    first, again, other = non_photographs(0), non_photographs(0), non_photographs(1)
    assert set(first) == set(other) and len(first) == 7
    for name, pictures in first.items():
        for picture, same in zip(pictures, again[name], strict=True):
            assert picture.dtype == np.uint8 and picture.shape == (512, 512, 3)
            assert np.array_equal(picture, same)
    for name in ("uniform noise", "text screens"):
        assert not np.array_equal(first[name][0], other[name][0])
    for pictures in other_patterns(0).values():
        assert all(each.dtype == np.uint8 and each.shape == (512, 512, 3) for each in pictures)
    assert not set(first) & set(other_patterns(0))
    lines = first["single-pixel lines"][0]
    assert np.unique(lines).tolist() == [0, 255]


def test_artefacts_are_faint_and_a_mosaic_holds_its_photographs(photographs):
    rgb = square(photographs[0])
    for name, made in artefacts(rgb).items():
        assert 2 < np.abs(made.astype(float) - rgb).mean() < 30, name
    made = mosaic(photographs, 2)
    assert np.abs(made[:256, :256].astype(float) - square(photographs[0], 256)).mean() < 1


def test_ascent_climbs_and_a_limit_keeps_it_smoother(photographs):
    reward = RaliReward()
    start = square(photographs[2], 256)
    free, before, after = ascend(reward, start, steps=6)
    assert before == pytest.approx(rewards_of(reward, [start]).item())
    assert after == pytest.approx(rewards_of(reward, [free]).item()) and after > before
    smooth, *_ = ascend(reward, start, steps=6, smoothness=50.0)

    def variation(rgb: np.ndarray) -> float:
        return float(np.abs(np.diff(rgb.astype(float), axis=0)).mean())

    assert variation(smooth) < variation(free)
    near, _, climbed = ascend(reward, start, steps=6, radius=4 / 255)
    assert np.abs(near.astype(int) - start).max() <= 4 and before < climbed <= after


def test_the_builtin_model_scores_the_patterns_it_was_taught_below_photographs(photographs):
    reward = RaliReward()
    median = rewards_of(reward, [square(rgb) for rgb in photographs]).median()
    for name, pictures in non_photographs().items():
        assert rewards_of(reward, pictures).max() < median, name


def test_the_field_of_view_is_the_whole_picture_or_the_probe_says_so(photographs):
    """Of 16:9 a middle square holds 9/16: the rest had no gradient, and no page said so."""
    wide = square(photographs[0], 256)[:144]
    for model, expected in (("builtin", 1.0), (_middle_square(), 9 / 16)):
        for options in ({}, {"caution": 1.0, "cutoff": 1.0}):
            reward = RaliReward(model, **options)
            for rgb in (wide, wide.transpose(1, 0, 2)):
                assert field_of_view(reward, rgb) == pytest.approx(expected, abs=0.03)
    trial = partial(_Trial, photographs=[square(rgb, 256) for rgb in photographs], size=256)
    for model, passed in (("builtin", True), (_middle_square(), False)):
        reward = RaliReward(model)
        made = trial(reward, reward, scores=np.zeros(1), median=3.0, seed=0, steps=1)
        probes = list(_try_field_of_view(made))
        assert [each.passed for each in probes] == [passed, passed], probes


def _middle_square() -> Student:
    """The built-in as it would be with a centre crop."""
    student = Student.from_pretrained("builtin")
    student.config.preprocess["resize_mode"] = "shortest"
    return student


def test_the_command_reports_each_probe_and_fails_if_one_does(small_model, tmp_path, monkeypatch):
    monkeypatch.setattr("rali.rewards.probe.probe", partial(probe, size=64))
    sheet = tmp_path / "sheet.png"
    command = ["probe", str(small_model), "--steps", "2", "--sheet", str(sheet), "--json"]
    done = CliRunner().invoke(app, command)
    probes = json.loads(done.stdout)["probes"]
    failed = [each for each in probes if each["passed"] is False]
    assert done.exit_code == (1 if failed else 0), done.output
    assert Counter(each["group"] for each in probes) == {
        "photographs": 1, "no photograph": 11, "mosaic": 3, "artefact": 4, "field of view": 2,
        "looks the same": 3, "adversary": 16,
    }  # fmt: skip
    for each in probes:
        if each["group"] == "no photograph":
            assert each["passed"] == (each["highest"] < each["reference"])
    assert sheet.stat().st_size > 10_000


def test_too_few_photographs_are_refused(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"text")
    done = CliRunner().invoke(app, ["probe", "--photographs", str(tmp_path)])
    assert "expected 2 or more" in str(done.exception)
    assert "broken.png: This is not a picture" in done.stderr and "left out" in done.stderr


def test_guards_are_checked_before_anything_is_tried():
    done = CliRunner().invoke(app, ["probe", "--cutoff", "0"])
    assert "cutoff is 0" in str(done.exception)


@pytest.mark.slow
def test_a_stop_leaves_the_probes_that_were_done(small_model, tmp_path):
    sheet = tmp_path / "sheet.png"
    words = ["probe", str(small_model), "--steps", "100000", "--sheet", str(sheet)]
    code = (
        "from functools import partial; from rali.cli import main; from rali.rewards import probe;"
        "probe.probe = partial(probe.probe, size=64); main()"
    )
    command = [sys.executable, "-c", code, *words]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # else off in a job
    )  # fmt: skip
    try:
        assert any("adversaries" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        table, messages = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and "stopped" in messages and "Traceback" not in messages
    assert "| artefact | halftone over good photographs |" in table
    assert Image.open(sheet).size[0] == 1200
