"""`model_image.onnx` on OpenVINO's provider: `make test-openvino` runs it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from rali.export import export_image
from rali.export.measure.resizing import between_providers, cut, open_session
from rali.export.resize import pixels_model
from rali.pictures.preprocess import Preprocess
from rali.pictures.read import find_pictures

OPENVINO = "OpenVINOExecutionProvider"
pytestmark = pytest.mark.skipif(
    OPENVINO not in onnxruntime.get_available_providers(),
    reason="this ONNX Runtime has no OpenVINO; type: make test-openvino",
)


@pytest.mark.parametrize("mode", ["shortest", "squash", "mirror"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_pixels_are_pillows_within_a_level(mode: str, interpolation: str) -> None:
    """White stays white, and a tall picture after a wide one is itself: no branch is kept."""
    preprocess = Preprocess(size=64, resize_mode=mode, interpolation=interpolation)  # type: ignore[arg-type]
    session = open_session(pixels_model(preprocess), OPENVINO)
    assert session.get_providers()[0] == OPENVINO
    rng = np.random.default_rng(0)
    for height, width in [
        *((90, 200), (200, 90), (64, 64), (64, 128), (128, 64), (30, 40), (40, 30), (1, 1)),
        *((3, 1000), (1000, 3), (511, 70), (70, 511), (520, 65), (65, 520), (90, 200)),
    ]:
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        white = np.full_like(noise, 255)
        for rgb in (noise, (noise > 127) * white, white):
            (pixels,) = session.run(None, {"image": rgb})
            off = np.abs(pixels.astype(int) - preprocess.pixels(rgb))
            assert off.max() <= 1, f"{width}×{height}"


def test_scores_of_photographs_are_the_same(photograph_files, tmp_path: Path) -> None:
    """Photographs of many shapes, wide and tall in turns: 200 where the data is there."""
    data = os.environ.get("RALI_DATA")
    files = find_pictures([Path(data) / "pristine"], True) if data else photograph_files
    pictures = list(cut(files, 200 if data else 40))
    export_image("builtin", tmp_path / "m_image.onnx", pictures[:2])
    off = between_providers(tmp_path / "m_image.onnx", "score", pictures, OPENVINO)
    assert max(off) <= 0.02
