"""Which picture is better, and how sure."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from PIL import Image, ImageFilter

from rali.errors import InputError
from rali.scoring.compare import compare, probability_better
from rali.scoring.intervals import Interval
from rali.scoring.scorer import Scorer


def test_the_probability_is_that_of_the_signed_errors():
    interval = Interval((0.0, 1.0))  # signed: -1, 0, 0, 1
    assert probability_better(interval, 0) == 0.5
    assert probability_better(interval, 0.5) == 11 / 16  # 11 of 16 pairs of errors leave A ahead
    assert probability_better(interval, 2.5) == 1
    assert probability_better(interval, -0.5) == 1 - 11 / 16


def test_the_command_ranks_and_says_how_sure(photograph_files, tmp_path):
    sharp, blurred, same = (tmp_path / name for name in ("sharp.png", "blurred.png", "same.png"))
    with Image.open(photograph_files[0]) as opened:
        picture = opened.convert("RGB")
    picture.save(sharp)
    picture.save(same)
    picture.filter(ImageFilter.GaussianBlur(12)).save(blurred)

    def run(*arguments):
        command = [sys.executable, "-m", "rali", "compare", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run(blurred, sharp, "-f", "jsonl")
    first, last = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, first["image"], last["image"]) == (0, str(sharp), str(blurred))
    assert first["beats_next"] > 0.8 and abs(first["beats_next"] + last["beats_best"] - 1) < 1e-5
    eight = run(blurred, sharp, "-f", "jsonl", "--precision", "int8", "--threads", "1")
    assert eight.returncode == 0 and json.loads(eight.stdout.splitlines()[0])["score"] not in (
        first["score"],
        None,
    )
    nowhere = run(blurred, sharp, "--provider", "NoProvider")
    assert nowhere.returncode == 2 and "NoProvider" in nowhere.stderr
    close = run(sharp, same)
    assert close.returncode == 3 and "Too close to call" in close.stderr
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"none")
    assert run(sharp, blurred, broken, "-f", "csv").returncode == 1
    with pytest.raises(InputError, match="two pictures or more"):
        compare(Scorer(), [sharp])
