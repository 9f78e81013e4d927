"""What `pip install rali` alone gives: a wheel without torch that scores a picture."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy: an older build/ beside the tree would be packed too
    for name in ("rali", "teacher", "export", "recipes"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, source]
    subprocess.run(command, check=True, cwd=folder)
    return next(folder.glob("rali-*.whl"))


def test_the_wheel_is_the_tree(wheel):
    """Every module and data file of the packages is in the wheel, and nothing else is."""
    names = set(zipfile.ZipFile(wheel).namelist())
    packed = {name for name in names if not name.startswith("rali-")}
    tree = set()
    for folder in ("rali", "teacher", "export", "recipes"):
        inside = "" if folder == "rali" else f"{folder}/"
        files = (path for path in (ROOT / folder).rglob("*") if path.is_file())
        names_in = (path.relative_to(ROOT / folder).as_posix() for path in files)
        tree |= {f"rali/{inside}{name}" for name in names_in if "__pycache__" not in name}
    tree = {name for name in tree if not name.startswith("rali/recipes/weights/")}
    assert packed == tree


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
