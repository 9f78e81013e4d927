"""Exports that are checked: torch against ONNX Runtime on the same pictures.

A file says in its `metadata_props` how well it agrees with the model that it was made from. In
float32 it must; in fewer bits there is a gate, and what lies below it is kept only if that is
wanted.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rali.errors import InputError
from rali.metrics import srcc
from rali.pictures.read import open_picture
from rali.pictures.samples import sample_photographs
from rali.scoring.model_folder import find_precision
from rali.scoring.scorer import Scorer
from rali.student.student import Student

from .onnx import export_onnx, move_into
from .quantize import quantize_dynamic, quantize_static, to_half, worst_first

TOLERANCE = 1e-4
CALIBRATION = 64  # pictures at most


@dataclass(frozen=True)
class Gate:
    """What a file in fewer bits must reach against torch: SRCC, and scores on the 1–5 scale."""

    srcc: float = 0.995
    max_difference: float = 0.1

    def words(self) -> str:
        return f"below the gate (SRCC {self.srcc}, differences to {self.max_difference})"


@dataclass(frozen=True)
class Agreement:
    """How a file agrees with torch on n pictures.

    Attributes:
        torch_scores, onnx_scores: [n], 1–5.
        cosine: the least between both embeddings of a picture.
        float_layers: that were left in float, as 8 bits hurt them.
    """

    torch_scores: np.ndarray
    onnx_scores: np.ndarray
    cosine: float
    float_layers: tuple[str, ...] = ()

    @property
    def max_difference(self) -> float:
        return float(np.abs(self.torch_scores - self.onnx_scores).max())

    @property
    def srcc(self) -> float:
        """Between both paths' scores; NaN for fewer than three pictures, or equal scores."""
        both = (self.torch_scores, self.onnx_scores)
        if len(self.torch_scores) < 3 or any(np.ptp(scores) == 0 for scores in both):
            return float("nan")
        return srcc(self.onnx_scores, self.torch_scores)

    def passes(self, gate: Gate) -> bool:
        return self.max_difference <= gate.max_difference and not self.srcc < gate.srcc

    def words(self) -> str:
        """For people: what was compared, and how it went."""
        ordered = "" if np.isnan(self.srcc) else f", SRCC {self.srcc:.4f}"
        return (
            f"largest difference from torch {self.max_difference:.1e}{ordered}, least cosine of "
            f"embeddings {self.cosine:.5f} on {len(self.torch_scores)} pictures"
        )


def export_checked(
    student: Student,
    path: str | Path,
    pictures: Sequence[Any] | None = None,
    *,
    precision: str = "fp32",
    gate: Gate | None = None,
    strict: bool = False,
    fused: bool = True,
    report: Callable[[str, int, int], None] = lambda what, done, count: None,
) -> Agreement:
    """Export the student and compare; the file takes its place only if the scores agree.

    In fewer bits it takes its place below the gate too, unless `strict`: see `Agreement.passes`.

    Args:
        path: the ONNX file.
        pictures: to compare on; for int8 a half of them, drawn at random, sets the ranges instead
            (`CALIBRATION` of them at most). By default `sample_photographs` in fp32, and otherwise
            `degraded_pictures`.
        precision: one of `rali.scoring.model_folder.PRECISIONS`. "int8" is calibrated
            (static); "int8-dynamic" is run picture by picture.
        fused: attention as one node; see `export_onnx`.
        report: called with (what is done, steps done, steps).

    Raises:
        InputError: in fp32 the scores differ by more than `TOLERANCE`; with `strict` they are
            below the gate; too few pictures.
    """
    find_precision(precision)
    path, gate = Path(path), gate or Gate()
    if pictures is None:
        pictures = sample_photographs() if precision == "fp32" else degraded_pictures()
    known, unseen = [], list(pictures)
    if precision == "int8":
        mixed = [pictures[place] for place in np.random.default_rng(0).permutation(len(pictures))]
        known, unseen = mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]
    least = 3 if strict and precision != "fp32" else 1  # SRCC is defined from three on
    if len(unseen) < least or (precision == "int8" and not known):
        raise InputError(f"the check in {precision} needs more pictures than {len(pictures)}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        report("export", 0, 1)
        full = export_onnx(student, Path(folder) / path.name, fused=fused)
        if precision == "fp32":
            agreement, file = compare(student, full, unseen), full
            if not agreement.max_difference <= TOLERANCE:
                raise InputError(
                    f"the ONNX file differs from torch by {agreement.max_difference:.1e}, more "
                    f"than {TOLERANCE:g}, and was not kept; please report the encoder and the "
                    "versions."
                )
        else:
            file = Path(folder) / "fewer" / path.name
            file.parent.mkdir()
            report(f"to {precision}, and compare", 0, 1)
            agreement = _in_fewer_bits(student, full, file, precision, known, unseen, gate, report)
            if strict and not agreement.passes(gate):
                raise InputError(
                    f"{precision} is {gate.words()} and was not kept: {agreement.words()}."
                )
        _note(file, precision, agreement)
        move_into(file, path.parent)
    return agreement


def _in_fewer_bits(
    student: Student,
    full: Path,
    file: Path,
    precision: str,
    known: Sequence[Any],
    unseen: Sequence[Any],
    gate: Gate,
    report: Callable[[str, int, int], None],
) -> Agreement:
    by_torch = _by_torch(student, unseen)
    if precision == "fp16":
        to_half(full, file)
        return _compare(by_torch, file, unseen)
    if precision == "int8-dynamic":
        quantize_dynamic(full, file)
        _note(file, precision)  # that it is run picture by picture
        return _compare(by_torch, file, unseen)
    pixels = [student.preprocess(open_picture(each)) for each in known[:CALIBRATION]]
    quantize_static(full, file, pixels)
    agreement, kept = _compare(by_torch, file, unseen), 0
    layers: list[str] = []
    while not agreement.passes(gate):
        layers = layers or worst_first(
            full, pixels, lambda done, count: report("which layers 8 bits hurt", done, count)
        )
        kept = max(1, 2 * kept)
        if kept > len(layers) // 2:
            break
        quantize_static(full, file, pixels, keep=layers[:kept])
        agreement = replace(_compare(by_torch, file, unseen), float_layers=tuple(layers[:kept]))
    return agreement


def _note(file: Path, precision: str, agreement: Agreement | None = None) -> None:
    """Write into the file how it was made and how well it agrees."""
    import onnx

    told: dict[str, Any] = {
        "precision": precision,
        "one_by_one": find_precision(precision).one_by_one,
    }
    if agreement is not None:
        told["agreement"] = {
            "pictures": len(agreement.torch_scores),
            "srcc": None if np.isnan(agreement.srcc) else round(agreement.srcc, 5),
            "max_difference": float(f"{agreement.max_difference:.2g}"),
            "cosine": round(agreement.cosine, 6),
        }
        told["float_layers"] = list(agreement.float_layers)
    model = onnx.load(str(file), load_external_data=False)
    props = {each.key: each.value for each in model.metadata_props}
    known = {key: value for key, value in props.items() if not key.startswith("onnx.")}
    onnx.helper.set_model_props(
        model, known | {key: json.dumps(value) for key, value in told.items()}
    )
    onnx.save(model, str(file))


def compare(student: Student, onnx_file: str | Path, pictures: Sequence[Any]) -> Agreement:
    """Score `pictures` (files, arrays, PIL pictures; non-square ones too) along both paths.

    Raises:
        InputError: no pictures to compare on.
    """
    return _compare(_by_torch(student, pictures), onnx_file, pictures)


def _by_torch(student: Student, pictures: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Scores [n] and embeddings [n, D]."""
    if not pictures:
        raise InputError("the check needs at least one picture; none was given.")
    outputs = []
    for picture in pictures:
        pixels = torch.from_numpy(student.preprocess(open_picture(picture))[None])
        with torch.inference_mode():
            outputs.append([each.numpy() for each in student(pixels)])
    scores, embeddings = zip(*outputs, strict=True)
    return np.concatenate(scores).astype(float), np.concatenate(embeddings)


def _compare(
    by_torch: tuple[np.ndarray, np.ndarray], onnx_file: str | Path, pictures: Sequence[Any]
) -> Agreement:
    scorer = Scorer(onnx_file)
    outputs = [scorer.run(scorer.preprocess(open_picture(each))[None]) for each in pictures]
    scores, embeddings = (np.concatenate(each) for each in zip(*outputs, strict=True))
    expected, towards = by_torch
    lengths = np.linalg.norm(towards, axis=1) * np.linalg.norm(embeddings, axis=1)
    cosines = (towards * embeddings).sum(1) / np.maximum(lengths, 1e-12)
    return Agreement(expected, scores.astype(float), float(cosines.min()))


def degraded_pictures() -> list[np.ndarray]:
    """`sample_photographs` in many qualities: 125, uint8 [H, W, 3].

    Each as it is and with every class of degradation, moderate and serious.
    """
    from rali.pictures.degrade import DISTORTIONS, degrade

    found = []
    for picture in sample_photographs():
        found.append(picture)
        found += [degrade(picture, name, level) for name in DISTORTIONS for level in (2, 4)]
    return found
