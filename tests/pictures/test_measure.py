"""Measures: each follows what it is named after, whatever the picture."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from rali.pictures.degrade import degrade
from rali.pictures.measure import measure


def test_worked_by_hand() -> None:
    """Left half black, right half white: mean 127.5, deviation 127.5, half clipped each way."""
    rgb = np.zeros((64, 64, 3), np.uint8)
    rgb[:, 32:] = 255
    found = measure(rgb)
    assert found.luminance == pytest.approx(127.5, abs=0.01)
    assert found.contrast == pytest.approx(127.5, abs=0.01)
    assert found.clipped_highlights == found.clipped_shadows == 0.5
    assert found.colourfulness == pytest.approx(0, abs=1e-3)
    assert found.noise == 0


def test_colourfulness_of_one_colour() -> None:
    """Pure red: rg = 255, yb = 127.5, no deviation, so 0.3·√(255² + 127.5²)."""
    rgb = np.zeros((16, 16, 3), np.uint8)
    rgb[..., 0] = 255
    assert measure(rgb).colourfulness == pytest.approx(0.3 * np.hypot(255, 127.5), rel=1e-4)


@pytest.mark.parametrize("sigma", [4, 12, 25])
def test_noise_is_in_grey_levels(sigma: float) -> None:
    grey = 128 + np.random.default_rng(0).normal(0, sigma, (256, 256, 1))
    rgb = np.rint(np.clip(grey, 0, 255)).astype(np.uint8).repeat(3, axis=2)
    assert measure(rgb).noise == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize(
    ("distortion", "attribute", "direction"),
    [
        ("blur", "sharpness", -1),
        ("noise", "noise", 1),
        ("compression", "blockiness", 1),
        ("brighten", "luminance", 1),
        ("darken", "luminance", -1),
        ("contrast weaken", "contrast", -1),
        ("contrast strengthen", "contrast", 1),
        ("saturate strengthen", "colourfulness", 1),
        ("saturate weaken", "colourfulness", -1),
    ],
)
def test_follows_its_degradation(
    distortion: str, attribute: str, direction: int, photographs: dict[str, np.ndarray]
) -> None:
    severities = (0, 2, 5)
    for content, rgb in photographs.items():
        values = [asdict(measure(degrade(rgb, distortion, s)))[attribute] for s in severities]
        assert np.all(np.diff(values) * direction > 0), (content, values)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (7, 700), (20, 20)])
@pytest.mark.parametrize("value", [0, 255, None])
def test_ranges_hold_for_any_picture(shape: tuple[int, int], value: int | None) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    if value is not None:
        rgb[:] = value
    found = measure(rgb)
    assert all(np.isfinite(number) for number in asdict(found).values())
    assert 0 <= found.luminance <= 255.01 and 0 <= found.contrast <= 127.6
    assert 0 <= found.clipped_highlights <= 1 and 0 <= found.clipped_shadows <= 1
    assert 0 <= found.sharpness <= 6 and found.noise >= 0 and found.blockiness > 0
    assert 0 <= found.colourfulness < 350


def test_the_picture_is_left_alone(photographs: dict[str, np.ndarray]) -> None:
    rgb = photographs["china"].copy()
    rgb.flags.writeable = False
    assert measure(rgb) == measure(rgb)
