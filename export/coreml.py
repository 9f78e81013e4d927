"""`model.mlpackage` for Core ML on iOS and macOS: an RGB image of S × S → score, embedding.

Normalisation is inside, resizing is not. coremltools converts on every system, but only macOS can
run the outcome: elsewhere the metadata says "converted, not run" in place of an agreement.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from rali.errors import require
from rali.student.student import Student

from .formats import FromPixels, Written


def write(student: Student, file: Path, precision: str) -> Written:
    """Convert the student to an ML Program of a fixed shape, for iOS 16 and macOS 13 or newer.

    Raises:
        MissingExtraError: coremltools is not installed.
    """
    ct = require("coremltools", "mobile")
    shape = (1, 3, student.preprocess.size, student.preprocess.size)
    with torch.no_grad():
        program = torch.export.export(FromPixels(student).eval(), (torch.zeros(shape),))
    # coremltools knows neither a product with a vector nor a number as clamp_min's bound.
    smaller = torch.export.default_decompositions()
    smaller[torch.ops.aten.clamp_min.default] = lambda x, least: torch.clamp(x, min=float(least))
    model = ct.convert(
        program.run_decompositions(smaller),
        inputs=[ct.ImageType("image", shape=shape, color_layout=ct.colorlayout.RGB)],
        outputs=[ct.TensorType(name) for name in ("score", "embedding")],
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.precision.FLOAT16 if precision == "fp16" else ct.precision.FLOAT32,
    )

    def note(values: dict[str, str]) -> None:
        model.user_defined_metadata.update(values)
        model.save(str(file))
        inside = file / "Data" / "com.apple.CoreML" / "model.mlmodel"
        shutil.copymode(file / "Manifest.json", inside)  # coremltools lets only its owner read it
        (file / "executorch_debug_handle_mapping.json").unlink(missing_ok=True)

    return Written(None, note)
