"""How well a file agrees with torch on the same pictures, and the gate that it must pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rali.errors import InputError
from rali.metrics import srcc
from rali.pictures.read import open_picture
from rali.scoring.scorer import Scorer
from rali.student.student import Student

TOLERANCE = 1e-4  # of a score in float32


@dataclass(frozen=True)
class Gate:
    """What a file in fewer bits must reach against torch: SRCC, and scores on the 1–5 scale."""

    srcc: float = 0.995
    max_difference: float = 0.1

    def words(self) -> str:
        return f"below the gate (SRCC {self.srcc}, differences to {self.max_difference})"


@dataclass(frozen=True)
class Agreement:
    """How well a file agrees with torch on n pictures.

    Attributes:
        torch_scores, scores: [n], 1–5.
        cosine: the least cosine between both embeddings of a picture.
        float_layers: the layers that stay in float because 8 bits hurt them.
    """

    torch_scores: np.ndarray
    scores: np.ndarray
    cosine: float
    float_layers: tuple[str, ...] = ()

    @property
    def max_difference(self) -> float:
        return float(np.abs(self.torch_scores - self.scores).max())

    @property
    def srcc(self) -> float:
        """SRCC between both scores; NaN for fewer than three pictures or equal scores."""
        both = (self.torch_scores, self.scores)
        if len(self.torch_scores) < 3 or any(np.ptp(scores) == 0 for scores in both):
            return float("nan")
        return srcc(self.scores, self.torch_scores)

    def passes(self, gate: Gate) -> bool:
        return self.max_difference <= gate.max_difference and not self.srcc < gate.srcc

    def words(self) -> str:
        """The comparison in words, for people."""
        ordered = "" if np.isnan(self.srcc) else f", SRCC {self.srcc:.4f}"
        return (
            f"largest difference from torch {self.max_difference:.1e}{ordered}, least cosine of "
            f"embeddings {self.cosine:.5f} on {len(self.torch_scores)} pictures"
        )

    def record(self) -> dict[str, Any]:
        """The comparison for a file's metadata."""
        return {
            "pictures": len(self.torch_scores),
            "srcc": None if np.isnan(self.srcc) else round(self.srcc, 5),
            "max_difference": float(f"{self.max_difference:.2g}"),
            "cosine": round(self.cosine, 6),
        }

    def require(self, name: str, precision: str, gate: Gate, *, strict: bool) -> None:
        """Refuse a file that does not agree.

        Args:
            name: of what was written, which begins the message.
            strict: whether one in fewer bits than fp32 may not be below the gate.

        Raises:
            InputError: in fp32 scores differ by more than `TOLERANCE`; or as `strict` says.
        """
        if precision == "fp32" and not self.max_difference <= TOLERANCE:
            raise InputError(
                f"{name} differs from torch by {self.max_difference:.1e}, more than "
                f"{TOLERANCE:g}, and was not kept; please report the encoder and the versions."
            )
        if precision != "fp32" and strict and not self.passes(gate):
            raise InputError(f"{precision} is {gate.words()} and was not kept: {self.words()}.")


def compare(student: Student, onnx_file: str | Path, pictures: Sequence[Any]) -> Agreement:
    """Score `pictures` (files, arrays or PIL pictures, of any shape) along both paths.

    Raises:
        InputError: no picture was given.
    """
    return agree(by_torch(student, pictures), by_onnx(onnx_file, pictures))


def by_torch(student: Student, pictures: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Scores [n] and embeddings [n, D].

    Raises:
        InputError: no picture was given.
    """
    if not pictures:
        raise InputError("The check needs at least one picture; none was given.")
    outputs = []
    for picture in pictures:
        pixels = torch.from_numpy(student.preprocess(open_picture(picture))[None])
        with torch.inference_mode():
            outputs.append([each.numpy() for each in student(pixels)])
    scores, embeddings = zip(*outputs, strict=True)
    return np.concatenate(scores).astype(float), np.concatenate(embeddings)


def by_onnx(file: str | Path, pictures: Sequence[Any]) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Score [1] and embedding [1, D] of one picture after the other."""
    scorer = Scorer(file)
    return (scorer.run(scorer.preprocess(open_picture(each))[None]) for each in pictures)


def agree(
    expected: tuple[np.ndarray, np.ndarray], outputs: Iterable[tuple[np.ndarray, np.ndarray]]
) -> Agreement:
    """Compare a file with torch.

    Args:
        expected: as `by_torch` returns it.
        outputs: the file's score [1] and embedding [1, D] of each picture.
    """
    scores, embeddings = (np.concatenate(each) for each in zip(*outputs, strict=True))
    torch_scores, towards = expected
    lengths = np.linalg.norm(towards, axis=1) * np.linalg.norm(embeddings, axis=1)
    cosines = (towards * embeddings).sum(1) / np.maximum(lengths, 1e-12)
    return Agreement(torch_scores, scores.astype(float), float(cosines.min()))
