"""`model.tflite` for LiteRT on Android: image uint8 [1, S, S, 3] → score [1], embedding [1, D].

Normalisation is inside, resizing is not. Google's converter from torch (litert-torch, once
ai-edge-torch) writes it, its quantizer makes 16 or 8 bits of the weights, and LiteRT runs it here.
The metadata is one entry named `rali`, a JSON object.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rali.errors import require
from rali.scoring.exported import TFLITE_ENTRY
from rali.student.student import Student

from .formats import FromPixels, Written


def write(student: Student, file: Path, precision: str) -> Written:
    """Convert the student.

    Raises:
        MissingExtraError: litert-torch is not installed.
    """
    litert_torch = require("litert_torch", "mobile")
    size = student.preprocess.size
    example = {"image": torch.zeros(1, size, size, 3, dtype=torch.uint8)}
    converted = litert_torch.convert(FromPixels(student, last=True).eval(), sample_kwargs=example)
    converted.export(str(file))
    if precision != "fp32":
        _shrink(file, precision)
    return Written(runner(file), lambda values: _note(file, values))


def _shrink(file: Path, precision: str) -> None:
    from ai_edge_quantizer import qtyping, quantizer, recipe

    shrinking = quantizer.Quantizer(str(file))
    if precision == "int8-dynamic":
        shrinking.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    else:  # weights of 16 bits, which LiteRT computes with in 32
        half = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
        shrinking.update_quantization_recipe(
            regex=".*",
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            op_config=qtyping.OpQuantizationConfig(
                weight_tensor_config=half,
                compute_precision=qtyping.ComputePrecision.FLOAT,
                explicit_dequantize=True,
            ),
            algorithm_key=recipe.AlgorithmName.FLOAT_CASTING,
        )
    shrinking.quantize().export_model(str(file), overwrite=True)


def runner(file: str | Path, threads: int = 1) -> Any:
    """A function that runs the file in LiteRT, on the processor; see `Written.run`."""
    interpreter = require("ai_edge_litert.interpreter", "mobile")
    run = interpreter.Interpreter(str(file), num_threads=threads).get_signature_runner()

    def scored(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        outputs = run(image=pixels[None])
        return outputs["score"], outputs["embedding"]

    return scored


def _note(file: Path, values: dict[str, str]) -> None:
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model(str(file))
    held = schema.BufferT()
    held.data = list(json.dumps(values).encode())
    entry = schema.MetadataT()
    entry.name, entry.buffer = TFLITE_ENTRY, len(model.buffers)
    model.buffers.append(held)
    model.metadata = [*(model.metadata or []), entry]
    flatbuffer_utils.write_model(model, str(file))
