"""ONNX Runtime's own format, which its small builds for mobiles read without an ONNX parser."""

from __future__ import annotations

from pathlib import Path

from rali.errors import InputError
from rali.files import check_space, replace_atomically


def export_ort(model: str | Path) -> Path:
    """Write `model.ort` beside an ONNX file, with its metadata, and return its path.

    The graph is optimised only in ways that hold on every processor. Layers of 8-bit integers are
    therefore computed in floats.

    Raises:
        InputError: the file cannot be loaded.
    """
    import onnxruntime

    path = Path(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry("session.save_model_format", "ORT")

    def write(target: Path) -> None:
        options.optimized_model_filepath = str(target)
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions derive from Exception only
            check_space(target.parent)
            raise InputError(f"{path} cannot be loaded as an ONNX model: {error}") from error

    target = path.with_suffix(".ort")
    replace_atomically(target, write)
    return target
