"""Which picture is better, and how sure."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import pytest
from PIL import Image, ImageFilter
from typer.testing import CliRunner

from rali.cli import app
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


def test_the_command_takes_every_source_that_score_takes(photograph_files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parquet = pytest.importorskip("pyarrow.parquet")
    store = pytest.importorskip("fsspec").filesystem("memory")
    with Image.open(photograph_files[0]) as opened:
        picture = opened.convert("RGB").resize((120, 80))
    (tmp_path / "p" / "deep").mkdir(parents=True)
    names = ("p/sharp.png", "p/deep/blurred.png")
    picture.save(names[0])
    picture.filter(ImageFilter.GaussianBlur(12)).save(names[1])
    held = [(tmp_path / name).read_bytes() for name in names]
    with zipfile.ZipFile("s.zip", "w") as archive:
        for name, data in zip(names, held, strict=True):
            archive.writestr(name, data)
            store.pipe(f"/compare/{name}", data)
    table = pytest.importorskip("pyarrow").table({"photo": held})
    parquet.write_table(table, "t.parquet")
    (tmp_path / "list.txt").write_text("\n".join(names))

    def keys(*arguments, code=0):
        done = CliRunner().invoke(app, ["compare", *arguments, "-f", "jsonl"])
        assert done.exit_code == code, (done.exception, done.output)
        return [json.loads(line)["image"] for line in done.stdout.splitlines()]

    asked = list(names)
    assert keys("p", "-r") == keys("@list.txt") == keys("p/**/*.png") == asked
    assert keys("s.zip") == keys("s.zip/p/deep/blurred.png", "s.zip/p/sharp.png")
    assert keys("s.zip") == [f"s.zip/{name}" for name in names]
    assert keys("t.parquet", "--column", "photo") == ["t.parquet#0", "t.parquet#1"]
    addresses = [f"memory://compare/{name}" for name in names]
    assert keys(*addresses[::-1]) == addresses
    assert keys(names[1], addresses[0]) == [addresses[0], names[1]]
    assert keys(names[0], "s.zip/none.png", code=1) == [names[0], "s.zip/none.png"]
    for arguments, sentence in (
        (["p"], "A comparison needs two pictures or more; got 1."),
        (["t.parquet"], "--column NAME"),
        (["p", "--column", "photo"], "is for tables and data sets"),
        (["@none.txt"], "The list none.txt cannot be read"),
    ):
        refused = CliRunner().invoke(app, ["compare", *arguments])
        assert isinstance(refused.exception, InputError) and sentence in str(refused.exception)
