"""The resize on tensors is Pillow's, but for the rounding."""

from __future__ import annotations

import numpy as np
import pytest

from rali.pictures.preprocess import Preprocess
from rali.rewards.resize import resize
from small import SHAPES, as_tensor, photograph


@pytest.mark.parametrize("mode", ["shortest", "squash", "mirror"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_tensor_path_resizes_as_pillow_does(mode, interpolation):
    preprocess = Preprocess(size=96, interpolation=interpolation, resize_mode=mode)
    for shape in SHAPES:
        picture = photograph(*shape)
        pixels = preprocess.pixels(picture).astype(float)
        for rounded, most in ((True, 1.0), (False, 1.6)):
            found = resize(as_tensor(picture), preprocess, rounded=rounded)[0]
            off = np.abs(found.permute(1, 2, 0).numpy() * 255 - pixels)
            assert off.max() < most + 1e-3, (shape, rounded)
            ties = 1e-3 if interpolation == "bicubic" else 0.05
            assert not rounded or (off > 0.5).mean() < ties
