"""Exports that are checked: torch against ONNX Runtime on the same pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rali import Scorer, Student
from rali.errors import InputError

from .onnx import export_onnx, move_into

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Agreement:
    """Scores [n] of both paths and their largest absolute difference, on the 1–5 scale."""

    torch_scores: np.ndarray
    onnx_scores: np.ndarray
    max_difference: float


def export_checked(
    student: Student, path: str | Path, pictures: Sequence[Any] | None = None
) -> Agreement:
    """Export the student and compare; the file takes its place only if the scores agree.

    Args:
        path: the ONNX file.
        pictures: to compare on; by default `check_pictures`.

    Raises:
        InputError: the scores differ by more than `TOLERANCE`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        file = export_onnx(student, Path(folder) / path.name)
        agreement = compare(student, file, list(pictures or check_pictures()))
        if agreement.max_difference > TOLERANCE:
            raise InputError(
                f"the ONNX file differs from torch by {agreement.max_difference:.1e}, more than "
                f"{TOLERANCE:g}, and was not kept; please report the encoder and the versions."
            )
        move_into(file, path.parent)
    return agreement


def compare(student: Student, onnx_file: str | Path, pictures: Sequence[Any]) -> Agreement:
    """Score `pictures` (files, arrays, PIL pictures; non-square ones too) along both paths.

    Raises:
        InputError: no pictures to compare on.
    """
    if not pictures:
        raise InputError("the check needs at least one picture; none was given.")
    expected = student.score(pictures, batch_size=4)
    got = np.asarray(Scorer(onnx_file)(list(pictures)), float)
    return Agreement(expected, got, float(np.abs(expected - got).max()))


def check_pictures() -> list[np.ndarray]:
    """Non-square real photographs that every install of the `distill` extra has.

    scikit-image's coffee, cat and rocket and scikit-learn's sample images, uint8 [H, W, 3].
    """
    from skimage import data
    from sklearn.datasets import load_sample_images

    return [data.coffee(), data.chelsea(), data.rocket(), *load_sample_images().images]
