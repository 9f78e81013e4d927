"""Focus in one place: what is sharp stays as it is, and the rest loses its detail."""

from __future__ import annotations

import numpy as np
import pytest

from rali.pictures.focus import STATES, focus


def detail(rgb: np.ndarray) -> np.ndarray:
    """Differences between neighbours, in absolute values: [H, W]."""
    return np.abs(np.diff(rgb.astype(float).mean(-1), axis=1))


@pytest.mark.parametrize("state", STATES)
def test_the_middle_or_the_rest_loses_detail(state: str) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    made = focus(rgb, state, np.random.default_rng(0))
    assert made.shape == rgb.shape and made.dtype == np.uint8
    height, width = rgb.shape[:2]
    middle = np.s_[int(0.48 * height) : int(0.52 * height), int(0.48 * width) : int(0.52 * width)]
    corner = np.s_[: height // 10, : width // 10]
    sharp, soft = (middle, corner) if state == "depth of field" else (corner, middle)
    assert np.array_equal(made[sharp], rgb[sharp])
    assert detail(made[soft]).mean() < 0.6 * detail(rgb[soft]).mean()
