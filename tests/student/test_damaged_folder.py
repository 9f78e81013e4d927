"""What stands in a model folder that is damaged, or was written by hand, is told in a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rali import Student
from rali.errors import InputError
from rali.scoring.intervals import read_interval
from rali.scoring.model_folder import BUILTIN, find_weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = find_weights(BUILTIN)
    for name in ("config.json", "model.safetensors", "interval.json"):
        shutil.copy(source / name, tmp_path / name)
    return tmp_path


def changed(values: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    *way, last = path.split(".")
    inner = values
    for step in way:
        inner = inner[step]
    inner[last] = value
    return values


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("encoder", []), ("encoder", {}), ("encoder.name", None), ("encoder.config", []),
        ("encoder.config.embed_dim", "a"), ("encoder.config.stages", "a"),
        ("encoder.config.zzz", 1), ("preprocess", []), ("preprocess.size", "512"),
        ("preprocess.size", 0), ("pca_dim", "x"), ("pca_dim", -1), ("bases", 10**12),
        ("embed_dim", 7), ("temperature", 0), ("temperature", "a"), ("score_range", [1]),
        ("score_range", [5, 1]), ("score_range", ["a", "b"]), ("evaluation", [1]),
        ("model_type", "clip"),
    ],
)  # fmt: skip
def test_a_config_of_another_kind(folder: Path, path: str, value: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(changed(json.loads(file.read_text("utf-8")), path, value)), "utf-8")
    with pytest.raises(InputError):
        Student.from_pretrained(folder)


@pytest.mark.parametrize("text", [b"[]", b"null", b'"x"', b'{"a":', b"\xff\xfe\x00", b""])
def test_a_config_that_is_none(folder: Path, text: bytes) -> None:
    (folder / "config.json").write_bytes(text)
    with pytest.raises(InputError, match=r"config\.json"):
        Student.from_pretrained(folder)


@pytest.mark.parametrize("errors", [[float("nan")] * 30, [-1.0] * 30, [float("inf")] * 30])
def test_an_interval_of_no_distances(folder: Path, errors: list[float]) -> None:
    file = folder / "interval.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"errors": errors}), "utf-8")
    with pytest.raises(InputError, match="not a file of `rali calibrate`"):
        read_interval(folder)
