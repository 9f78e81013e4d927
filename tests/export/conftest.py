"""Exports that the tests of this room share: `torch.onnx.export` takes seconds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rali import Student
from rali.export import export_onnx
from rali.pictures.degrade import degrade
from rali.student.student import weights_sha256


@pytest.fixture(scope="session")
def export_once(tmp_path_factory) -> Callable[..., Path]:
    """`export_onnx` that exports equal students once and copies the file from then on."""
    exported: dict[tuple[str, str, bool], Path] = {}

    def export(student: Student, path: str | Path, *, fused: bool = True) -> Path:
        key = weights_sha256(student), json.dumps(student.config.to_dict()), fused
        if key not in exported:
            exported[key] = export_onnx(
                student, tmp_path_factory.mktemp("exported") / "model.onnx", fused=fused
            )
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copyfile(exported[key], path))

    return export


@pytest.fixture(scope="module", autouse=True)
def shared_exports(export_once):
    """`export_checked` makes its files from shared exports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rali.export.checked.export_onnx", export_once)
        yield


@pytest.fixture(scope="session")
def pictures(photographs) -> list[np.ndarray]:
    """Photographs in several qualities, 30 in all."""
    return [
        degrade(picture, name, level)
        for picture in photographs.values()
        for name in ("blur", "noise", "darken")
        for level in (1, 4)
    ]
