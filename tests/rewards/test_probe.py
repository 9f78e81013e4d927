"""`rali probe`: what it makes, what it says, and that its ascent climbs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from rali.cli import app
from rali.pictures.patterns import artefacts, mosaic, non_photographs, other_patterns, square
from rali.pictures.samples import IN_COLOUR, sample_photographs
from rali.rewards import RaliReward
from rali.rewards.no_grad import judge
from rali.rewards.probe import ascend


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    return sample_photographs(IN_COLOUR)


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
    assert before == pytest.approx(judge(reward, [start]).item())
    assert after == pytest.approx(judge(reward, [free]).item()) and after > before
    smooth, *_ = ascend(reward, start, steps=6, smoothness=50.0)

    def variation(rgb: np.ndarray) -> float:
        return float(np.abs(np.diff(rgb.astype(float), axis=0)).mean())

    assert variation(smooth) < variation(free)


def test_the_command_says_what_failed(tmp_path):
    sheet = tmp_path / "sheet.png"
    command = ["probe", "builtin", "--steps", "2", "--sheet", str(sheet), "--json"]
    done = CliRunner().invoke(app, command)
    told = json.loads(done.stdout)["probes"]
    failed = [each for each in told if each["passed"] is False]
    assert done.exit_code == (1 if failed else 0)
    assert {each["group"] for each in told} == {
        "photographs", "no photograph", "mosaic", "artefact", "looks the same", "adversary",
    }  # fmt: skip
    below = [each for each in told if each["group"] == "no photograph"]
    assert len(below) == 11
    taught = [each for each in below if each["name"] in non_photographs()]
    assert all(each["passed"] and each["highest"] < each["reference"] for each in taught)
    assert sheet.stat().st_size > 10_000


def test_too_few_photographs_are_said(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"text")
    done = CliRunner().invoke(app, ["probe", "--photographs", str(tmp_path)])
    assert "expected 2 or more" in str(done.exception)
    assert "broken.png: This is not a picture" in done.stderr and "left out" in done.stderr


def test_guards_that_are_none_are_refused_before_anything_is_tried():
    done = CliRunner().invoke(app, ["probe", "--cutoff", "0"])
    assert "cutoff is 0" in str(done.exception)


def test_a_stop_leaves_the_probes_that_were_done(tmp_path):
    sheet = tmp_path / "sheet.png"
    command = [sys.executable, "-m", "rali", "probe", "--steps", "100000", "--sheet", str(sheet)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # else off in a job
    )  # fmt: skip
    try:
        assert any("adversaries" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        table, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130 and "stopped" in told and "Traceback" not in told
    assert "| artefact | halftone over good photographs |" in table
    assert Image.open(sheet).size[0] == 1200
