"""ONNX files from students, checked to give the same scores."""

from __future__ import annotations

from .agreement import compare
from .checked import export_checked
from .image import export_image
from .onnx import export_onnx
from .ort import export_ort

__all__ = ["compare", "export_checked", "export_image", "export_onnx", "export_ort"]
