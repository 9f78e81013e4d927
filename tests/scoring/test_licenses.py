from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from rali.errors import InputError
from rali.scoring.licenses import UNKNOWN, model_parts, package_parts

PACKAGES = ("rali", "rali.teacher", "rali.export", "rali.recipes")


def is_binary(path: Path) -> bool:
    try:
        path.read_text("utf-8")
    except UnicodeDecodeError:
        return True
    return False


def test_every_binary_file_that_ships_has_a_licence_and_an_origin():
    listed = {part.file: part for part in package_parts()}
    shipped = {
        f"{package.replace('.', '/')}/{path.relative_to(root).as_posix()}"
        for package in PACKAGES
        for root in [Path(str(files(package)))]
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and is_binary(path)
    }
    assert len(shipped) >= 6
    assert shipped <= listed.keys()
    assert all(part.license == "Apache-2.0" and part.origin for part in listed.values())


def test_the_hash_is_that_of_the_file():
    part = next(part for part in package_parts() if part.file == "rali/builtin/model.safetensors")
    path = Path(str(files("rali"))) / "builtin/model.safetensors"
    assert part.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_exported_file_says_what_it_is_made_of(tmp_path):
    source = Path(str(files("rali"))) / "builtin/onnx/model.onnx"
    (tmp_path / "mine.onnx").write_bytes(source.read_bytes())
    shown = subprocess.run(
        [sys.executable, "-m", "rali", "licenses", str(tmp_path), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (part,) = json.loads(shown.stdout)
    assert part["license"] == "Apache-2.0"
    assert "EfficientNet-Lite0" in part["origin"] and "BIQ2021" in part["origin"]


def test_a_folder_without_weights_is_refused_and_silence_is_not_a_licence(tmp_path):
    with pytest.raises(InputError, match="holds no"):
        model_parts(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert model_parts(tmp_path)[0].license == UNKNOWN
