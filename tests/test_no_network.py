"""Scoring writes nothing into the user's folders and asks no host, ONNX Runtime included.

ONNX Runtime's telemetry is native code: Python's audit hooks would not see it, so the process is
watched from outside where there is strace, and its home folder is looked at everywhere.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "onnxruntime_only.py"
SCORER = "import rali, time; rali.Scorer()(__import__('sys').argv[1]); time.sleep(2)"


@pytest.fixture(scope="module")
def image_model(tmp_path_factory) -> Path:
    pytest.importorskip("onnx")
    from rali.export import export_image
    from rali.scoring.model_folder import find_model

    target = tmp_path_factory.mktemp("model") / "model_image.onnx"
    export_image(find_model("builtin"), target)
    return target


def run(words: list[str | Path], home: Path) -> str:
    """Run Python in an empty home; returns the calls by which it would have reached a host."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("XDG_", "ORT_", "HF_"))
    }
    trace = home.parent / "trace"
    strace = shutil.which("strace")
    watched = [strace, "-f", "-e", "trace=network", "-o", trace] if strace else []
    subprocess.run(
        [*watched, sys.executable, *words],
        env=kept | {"HOME": str(home), "USERPROFILE": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        check=True, capture_output=True,
    )  # fmt: skip
    calls = trace.read_text().splitlines() if strace else []
    return "\n".join(c for c in calls if re.search(r"AF_INET6?\b|sendto|sendmmsg|nscd", c))


@pytest.mark.parametrize("way", ["command", "scorer", "example"])
def test_no_file_and_no_lookup(way, image_model, photograph_files, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    words = {
        "command": ["-m", "rali", "score", photograph_files[0], "--explain"],
        "scorer": ["-c", SCORER, photograph_files[0]],
        "example": [EXAMPLE, image_model, photograph_files[0]],
    }[way]
    assert run(words, home) == ""
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_a_choice_of_the_user_stays():
    code = "import os, rali; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    for given, wanted in ({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0"):
        kept = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=kept | given, capture_output=True, text=True
        )
        assert done.stdout.strip() == wanted
