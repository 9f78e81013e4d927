"""The container: built where a builder is at hand, and checked by hadolint everywhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BASE = "python:3.12-slim"


def builder() -> str | None:
    """A program that can build here: it runs, and has the base image or may fetch it."""
    for name in filter(shutil.which, ("docker", "podman")):
        if not subprocess.run([name, "pull", "--quiet", BASE], capture_output=True).returncode:
            return name
    return None


def test_the_dockerfile_has_no_warnings() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    found = subprocess.run(
        [linter, "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_what_the_build_needs_is_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    packages = set(re.findall(r'": "(\w+)"', (ROOT / "setup.py").read_text()))
    assert packages <= kept
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE"} <= kept


@pytest.mark.slow
def test_the_container_scores() -> None:
    if (name := builder()) is None:
        pytest.skip(f"There is no docker or podman here that has {BASE}.")
    subprocess.run([name, "build", "-t", "rali-test", str(ROOT)], check=True)
    script = (
        "python -c \"from PIL import Image; Image.new('RGB', (64, 64)).save('/tmp/a.png')\""
        " && rali score /tmp/a.png"
    )
    shown = subprocess.run(
        [name, "run", "--rm", "--entrypoint", "sh", "rali-test", "-c", script],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert re.search(r"/tmp/a\.png\W+1\.\d", shown.stdout), shown.stdout
