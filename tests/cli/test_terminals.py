"""What is printed on terminals and disks that are not what one hopes for; real processes."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiny_onnx import write_model

NAMES = ("é.png", "=cmd|' C calc'!A0.png", "red\x1b[31m.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(tmp_path / "m" / "onnx" / "model.onnx")
    for level, name in zip((40, 90, 200), NAMES, strict=True):
        Image.fromarray(np.full((20, 30, 3), level, np.uint8)).save(tmp_path / name)
    return tmp_path


def rali(folder: Path, *arguments: str, **how: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "rali", *arguments]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | how
    return subprocess.run(command, cwd=folder, check=False, **how)  # type: ignore[call-overload]


def score(folder: Path, *more: str, **how: object) -> subprocess.CompletedProcess[bytes]:
    return rali(folder, "score", *NAMES, "--model", "m", *more, **how)


def test_a_terminal_of_ascii_shows_every_row(folder: Path) -> None:
    run = score(folder, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert run.returncode == 0 and rb"\xe9.png" in run.stdout and run.stdout.count(b"\n") == 4


def test_control_characters_are_written_out(folder: Path) -> None:
    run = score(folder)
    assert b"\x1b" not in run.stdout and rb"red\x1b[31m.png" in run.stdout
    (folder / NAMES[2]).unlink()
    error = rali(folder, "evaluate", "m", "gone\x1b[2J.csv").stderr
    assert b"\x1b" not in error and rb"gone\x1b[2J.csv" in error


def test_no_name_is_a_formula_and_evaluate_finds_the_picture(folder: Path) -> None:
    assert score(folder, "-o", "scores.csv").returncode == 0
    with (folder / "scores.csv").open(encoding="utf-8", newline="") as file:
        names = [row["image"] for row in csv.DictReader(file)]
    assert names == [NAMES[0], f"./{NAMES[1]}", NAMES[2]]
    with (folder / "people.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("image", "score"), *((n, 2 + i) for i, n in enumerate(NAMES))])
    run = rali(folder, "evaluate", "scores.csv", "people.csv", "--json")
    assert run.returncode == 0, run.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_evaluate_finds_names_of_any_bytes(folder: Path) -> None:
    for level, name in ((30, b"caf\xe9.png"), (160, b"caf\xe8.png")):
        picture = Image.fromarray(np.full((20, 30, 3), level, np.uint8))
        with (folder / os.fsdecode(name)).open("wb") as file:
            picture.save(file, "PNG")
    names = [os.fsdecode(name) for name in (b"caf\xe9.png", b"caf\xe8.png")]
    scored = rali(folder, "score", *names, NAMES[0], "--model", "m", "-o", "scores.csv")
    assert scored.returncode == 0, scored.stderr
    written = (folder / "scores.csv").read_text("utf-8")
    assert "file:caf%E9.png" in written and "file:caf%E8.png" in written
    lines = "image,score\nfile:caf%E9.png,2\nfile:caf%E8.png,4\né.png,3\n"
    (folder / "people.csv").write_text(lines, "utf-8")
    run = rali(folder, "evaluate", "scores.csv", "people.csv", "--json", "-o", "out")
    assert run.returncode == 0, run.stderr
    assert "caf%E9.png" in (folder / "out" / "predictions.csv").read_text("utf-8")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_a_full_disk_is_a_sentence(folder: Path, form: str) -> None:
    with Path("/dev/full").open("wb") as full:
        run = score(folder, "-f", form, stdout=full)
    assert run.returncode == 2 and run.stderr.startswith(b"rali: The disk is full.")
    assert b"Traceback" not in run.stderr
    assert score(folder, "-o", "/dev/full").stderr.startswith(b"rali: ")


@pytest.mark.skipif(os.name != "posix", reason="the shell of POSIX")
def test_a_closed_stderr_ends_nothing(folder: Path) -> None:
    command = f"'{sys.executable}' -m rali score é.png --model m -f csv 2>&-"
    run = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, check=False)
    assert run.returncode == 0 and "é.png" in run.stdout.decode()
