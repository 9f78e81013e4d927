"""`openvino_model.xml` and `.bin`, optimum-intel's names: pixel_values → score, embedding.

OpenVINO reads the ONNX file with ONNX's own operators and writes its IR; the metadata lies in the
model's `rt_info`, under `rali`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rali.errors import require
from rali.student.student import Student

from .formats import Written
from .onnx import export_onnx


def write(student: Student, file: Path, precision: str) -> Written:
    """Convert the student; the batch stays dynamic.

    Raises:
        MissingExtraError: openvino is not installed.
    """
    openvino = require("openvino", "openvino")
    onnx = export_onnx(student, file.with_name("model.onnx"), fused=False)
    model = openvino.convert_model(str(onnx))
    onnx.unlink()

    def save() -> None:
        openvino.save_model(model, str(file), compress_to_fp16=precision == "fp16")

    save()
    # Some processors would compute in bfloat16, and the file would be blamed for it.
    compiled = openvino.Core().compile_model(str(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = compiled({"pixel_values": student.preprocess.normalise(pixels)[None]})
        return outputs["score"], outputs["embedding"]

    def note(values: dict[str, str]) -> None:
        for key, value in values.items():
            model.set_rt_info(value, ["rali", key])
        save()

    return Written(run, note)
