"""What `pip install rali` alone gives: a wheel without torch that scores a picture."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT]
    subprocess.run(command, check=True, cwd=folder)
    return next(folder.glob("rali-*.whl"))


@pytest.mark.slow
def test_the_wheel_carries_the_models_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "rali/py.typed",
        "rali/kadid_scores.json",
        "rali/builtin/onnx/model.onnx",
        "rali/builtin/model.safetensors",
        "rali/nano_weights/text.safetensors",
        "rali/export/onnx.py",
    ):
        assert wanted in names
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "export/"))]


@pytest.mark.slow
def test_core_alone_scores_a_picture(wheel, photograph_files, tmp_path):
    environment = tmp_path / "core"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", wheel], check=True)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    code = (
        "import sys; from rali import Scorer; print(Scorer()(sys.argv[1]));"
        "assert 'torch' not in sys.modules"
    )
    run = subprocess.run(
        [python, "-c", code, photograph_files[0]],
        capture_output=True, text=True, cwd=tmp_path, env=clean, check=True,
    )  # fmt: skip
    assert 1 <= float(run.stdout) <= 5
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode != 0
    table = subprocess.run(
        [environment / "bin" / "rali", "score", photograph_files[0], "--format", "csv"],
        capture_output=True, text=True, cwd=tmp_path, env=clean, check=True,
    )  # fmt: skip
    assert photograph_files[0].name in table.stdout
    missing = subprocess.run(
        [environment / "bin" / "rali", "distill", "m.csv", "-o", "out"],
        capture_output=True, text=True, cwd=tmp_path, env=clean,
    )  # fmt: skip
    assert missing.returncode == 2 and "pip install 'rali[" in missing.stderr
