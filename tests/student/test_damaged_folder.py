"""What stands in a model folder that is damaged, or was written by hand, is told in a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rali import Student
from rali.errors import InputError
from rali.scoring.intervals import Interval, read_interval
from rali.scoring.model_folder import BUILTIN, find_weights
from rali.scoring.phrases import read_phrases


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
        ("score_range", True), ("score_range", 0.5), ("score_range", [1, 10**400]),
        ("temperature", 10**400), ("preprocess.mean", [0, 0, 10**400]), ("preprocess.size", 10**6),
        ("model_type", "clip"),
    ],
)  # fmt: skip
def test_a_config_of_another_kind(folder: Path, path: str, value: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(changed(json.loads(file.read_text("utf-8")), path, value)), "utf-8")
    with pytest.raises(InputError):
        Student.from_pretrained(folder)


@pytest.mark.parametrize(
    "text", [b"[]", b"null", b'"x"', b'{"a":', b"\xff\xfe\x00", b"", b"[" * 9**5]
)
def test_a_config_that_is_none(folder: Path, text: bytes) -> None:
    (folder / "config.json").write_bytes(text)
    with pytest.raises(InputError, match=r"config\.json"):
        Student.from_pretrained(folder)


@pytest.mark.parametrize(
    "errors", [[float("nan")] * 30, [-1.0] * 30, [float("inf")] * 30, [10**400] * 30]
)
def test_an_interval_of_no_distances(folder: Path, errors: list[float]) -> None:
    file = folder / "interval.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {"errors": errors}), "utf-8")
    with pytest.raises(InputError, match="not a file of `rali calibrate`"):
        read_interval(folder)


def test_an_interval_nested_deeper_than_python_goes(folder: Path) -> None:
    (folder / "interval.json").write_text("[" * 100_000, "utf-8")
    with pytest.raises(InputError, match="nested too deep"):
        read_interval(folder)


def test_an_interval_of_a_narrower_range_is_in_order() -> None:
    interval = Interval((0.9,) * 30, (1.0, 1.2))
    assert interval.around(3.0, 0.9) == (1.2, 1.2)


@pytest.mark.parametrize("kind", ["S3", "M8[s]", "?", "i8", "nan"])
@pytest.mark.parametrize("name", ["vectors", "offsets"])
def test_a_table_of_phrases_with_no_numbers(folder: Path, name: str, kind: str) -> None:
    held: dict[str, Any] = {
        "texts": np.array(["a", "b"]),
        "meanings": np.array(["good", "blur"]),
        "vectors": np.eye(2, 3),
        "offsets": np.zeros(2),
        "weights_sha256": np.array(""),
    }
    other = np.full(held[name].shape, np.nan) if kind == "nan" else held[name].astype(kind)
    np.savez(folder / "phrases.npz", **{**held, name: other})
    with pytest.raises(InputError, match=f"{name} holds what is no finite number"):
        read_phrases(folder)


def test_a_table_of_phrases_in_an_archive_with_a_password(folder: Path) -> None:
    np.savez(folder / "phrases.npz", texts=np.array(["a"]))
    whole = bytearray((folder / "phrases.npz").read_bytes())
    central = whole.index(b"PK\x01\x02")
    whole[central + 8] |= 1  # the flag of a coded member
    whole[6] |= 1
    (folder / "phrases.npz").write_bytes(whole)
    with pytest.raises(InputError, match="not a table of phrases"):
        read_phrases(folder)
