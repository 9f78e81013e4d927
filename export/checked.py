"""Exports that are checked: torch against ONNX Runtime on the same pictures.

A file states in its `metadata_props` how well it agrees with the model that it was made from. In
float32 it must agree; in fewer bits there is a gate, and a file below the gate is kept only on
request.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rali.errors import HubError, InputError
from rali.pictures.degrade import DISTORTIONS, degraded_versions
from rali.pictures.read import open_picture
from rali.pictures.samples import sample_photographs
from rali.runs.progress import Progress, silent
from rali.scoring.model_folder import find_file, find_precision
from rali.student.student import Student

from .agreement import Agreement, Gate, agree, by_onnx, by_torch, compare
from .onnx import export_onnx, move_into
from .quantize import WRITERS, quantize_static, worst_first

CALIBRATION = 64  # pictures at most


def export_checked(
    student: Student,
    path: str | Path,
    pictures: Sequence[Any] | None = None,
    *,
    precision: str = "fp32",
    gate: Gate | None = None,
    strict: bool = False,
    fused: bool = True,
    batch: int | None = None,
    symmetric: bool = False,
    progress: Progress = silent,
) -> Agreement:
    """Export the student and compare; the file takes its place only if the scores agree.

    In fewer bits a file below the gate takes its place too, unless `strict`; see
    `Agreement.passes`.

    Args:
        path: the ONNX file.
        pictures: what is compared on. Where the precision is calibrated, a half of them, drawn at
            random, sets the ranges instead (at most `CALIBRATION` of them). By default
            `default_pictures`.
        precision: one of `rali.scoring.model_folder.PRECISIONS`.
        fused: attention as one node; see `export_onnx`.
        batch: pictures per run, where a provider wants a fixed number; `Scorer` then runs them one
            by one.
        symmetric: 8-bit integers without zero points.

    Raises:
        InputError: in fp32 the scores differ by more than `TOLERANCE`; with `strict` they are
            below the gate; too few pictures.
    """
    calibrated = find_precision(precision).calibrated
    path, gate = Path(path), gate or Gate()
    pictures = default_pictures(precision) if pictures is None else pictures
    calibration, compared = [], list(pictures)
    if calibrated:
        mixed = [pictures[place] for place in np.random.default_rng(0).permutation(len(pictures))]
        calibration, compared = mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]
    least = 3 if strict and precision != "fp32" else 1  # SRCC is defined from three on
    if len(compared) < least or (calibrated and not calibration):
        raise InputError(
            f"The check in {precision} needs more pictures than the {len(pictures)} given."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        progress("export", 0, 1)
        file = export_onnx(student, Path(folder) / path.name, fused=fused)
        if batch is not None:
            _fix_batch(file, batch)
        progress("export", 1, 1)
        if precision == "fp32":
            agreement = compare(student, file, compared)
        else:
            full, file = file, Path(folder) / "fewer" / path.name
            file.parent.mkdir()
            pixels = [student.preprocess(open_picture(each)) for each in calibration[:CALIBRATION]]
            expected = by_torch(student, compared)
            write = WRITERS[precision]
            if symmetric and calibrated:
                write = partial(quantize_static, symmetric=True)
            note = partial(_note, file, precision, batch)

            def check(file: Path) -> Agreement:
                return agree(expected, by_onnx(file, compared))

            agreement = _in_fewer_bits(full, file, write, note, pixels, check, gate, progress)
        agreement.require("The ONNX file", precision, gate, strict=strict)
        _note(file, precision, batch, agreement)
        move_into(file, path.parent)
    return agreement


def _in_fewer_bits(
    full: Path,
    file: Path,
    write: Callable[[Path, Path, Sequence[np.ndarray], Sequence[str]], None],
    note: Callable[[], None],
    pixels: Sequence[np.ndarray],
    check: Callable[[Path], Agreement],
    gate: Gate,
    progress: Progress,
) -> Agreement:
    """Write `file`; while a calibrated one is below the gate, leave more of its layers in float.

    Args:
        full: the float32 file. write: as in `WRITERS`. note: notes in the file how it is run.
        pixels: float32 [3, S, S] each, to calibrate on; none where nothing is calibrated.
        check: compares a file with torch.
    """
    layers: list[str] = []
    kept = 0
    while True:
        progress("to fewer bits", 0, 1)
        write(full, file, pixels, layers[:kept])
        note()  # the scorer reads whether it is run picture by picture
        agreement = replace(check(file), float_layers=tuple(layers[:kept]))
        progress("to fewer bits", 1, 1)
        if not pixels or agreement.passes(gate):
            return agreement
        layers = layers or worst_first(full, pixels, progress)
        kept = max(1, 2 * kept)
        if kept > len(layers) // 2:
            return agreement


def _fix_batch(file: Path, batch: int) -> None:
    """Every run is of this many pictures, in place."""
    import onnx
    from onnxruntime.tools.onnx_model_utils import make_dim_param_fixed

    model = onnx.load(str(file), load_external_data=False)
    make_dim_param_fixed(model.graph, "batch", batch)
    onnx.save(model, str(file))


def _note(
    file: Path, precision: str, batch: int | None, agreement: Agreement | None = None
) -> None:
    """Write into the file how it was made and how well it agrees."""
    import onnx

    values: dict[str, Any] = {
        "precision": precision,
        "one_by_one": find_precision(precision).one_by_one or batch == 1,
    }
    if agreement is not None:
        values["agreement"] = agreement.record()
        values["float_layers"] = list(agreement.float_layers)
    model = onnx.load(str(file), load_external_data=False)
    props = {each.key: each.value for each in model.metadata_props}
    kept = {key: value for key, value in props.items() if not key.startswith("onnx.")}
    onnx.helper.set_model_props(
        model, kept | {key: json.dumps(value) for key, value in values.items()}
    )
    onnx.save(model, str(file))


def default_pictures(precision: str) -> list[np.ndarray]:
    """What an export is compared on: `sample_photographs` in fp32, else `degraded_pictures`."""
    return sample_photographs() if precision == "fp32" else degraded_pictures()


def degraded_pictures(every: int = 1) -> list[np.ndarray]:
    """`sample_photographs` in many qualities: 125 pictures, uint8 [H, W, 3], or one in `every`.

    Each is there undegraded and with every class of degradation, moderate and serious.
    """
    kinds = [("null", 0), *((name, severity) for name in DISTORTIONS for severity in (2, 4))]
    chosen = [(rgb, kind) for rgb in sample_photographs() for kind in kinds][::every]
    return [picture for rgb, kind in chosen for *_, picture in degraded_versions(rgb, [kind])]


def take_along(model: str | Path, name: str) -> Path | None:
    """A file that goes with an export, such as `PHRASES_FILE`; None if the model has none.

    Where the Hub does not say whether there is one, a warning says that it is left out.
    """
    try:
        return find_file(model, name)
    except HubError as error:
        warnings.warn(f"{name} is left out: {error}", stacklevel=2)
        return None
