"""Maps: windows by hand, odd pictures, colours, and the damaged half of real photographs."""

from __future__ import annotations

import numpy as np
import pytest

from rali import Scorer
from rali.pictures.degrade import degrade
from rali.pictures.preprocess import Preprocess
from rali.scoring.heatmap import Heatmap, colour_scale, windows
from tiny_onnx import write_model


def test_windows_overlap_by_half_and_are_mirrored_until_they_fill_the_input():
    preprocess = Preprocess(size=30, mean=(0.0,) * 3, std=(1.0,) * 3)
    rgb = np.random.default_rng(0).integers(0, 256, (30, 60, 3), np.uint8)
    (down, right), each = windows(rgb, preprocess)
    assert down.tolist() == [5, 10, 15, 20, 25]
    assert right.tolist() == list(range(5, 56, 5))
    first = next(each)
    assert first.shape == (3, 30, 30)
    expected = rgb[:10, :10].transpose(2, 0, 1) / 255
    np.testing.assert_allclose(first[:, :10, :10], expected, atol=1e-6)
    np.testing.assert_allclose(first[:, :10, 10:20], expected[:, :, ::-1], atol=1e-6)
    assert len(list(each)) == 5 * 11 - 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 2000), (2, 2)])
@pytest.mark.parametrize("mode", ["shortest", "squash", "mirror"])
def test_odd_pictures_have_maps(shape, mode, tmp_path):
    model = write_model(tmp_path / "model.onnx", resize_mode=mode)
    found = Scorer(model).map(np.full((*shape, 3), 255, np.uint8))
    assert found.scores == pytest.approx(1 + 3.5, abs=1e-4)
    assert found.scores.size <= 24 * 5
    assert found.overlay().size[1] > min(shape[0], 1024 * shape[0] // max(shape))


def test_colours_grow_lighter_with_the_score_and_differ_in_blue_for_the_colour_blind():
    colours = colour_scale(np.linspace(0, 1, 101)).astype(float)
    luminance = (colours / 255) ** 2.2 @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance) > 0).all() and luminance[-1] > 10 * luminance[0]
    assert colours[0, 2] > colours[0, 0] and colours[-1, 2] < colours[-1, 0] - 50


def test_an_overlay_shows_each_score_where_its_window_is():
    centres = (np.array([20.0, 60.0]), np.array([30.0, 150.0]))
    scores = np.array([[1.0, 5.0], [3.0, 3.0]])
    drawn = Heatmap(scores, centres, np.full((80, 180, 3), 128, np.uint8)).overlay()
    grey, pixels = 0.5 * 128, np.asarray(drawn).astype(float)
    assert (pixels[:80, :180] == 128).all(), "the picture itself stands to the left"
    for (row, column), value in (((20, 30), 0.0), ((20, 150), 1.0), ((60, 90), 0.5)):
        expected = grey + 0.5 * colour_scale(np.array(value))
        np.testing.assert_allclose(pixels[row, 188 + column], expected, atol=4)


def test_all_maps_have_one_scale():
    centres = (np.array([20.0]), np.array([30.0]))
    drawn = Heatmap(np.array([[3.0]]), centres, np.full((40, 60, 3), 128, np.uint8)).overlay()
    expected = 64 + 0.5 * colour_scale(np.array(0.5))
    np.testing.assert_allclose(np.asarray(drawn)[20, 68 + 30], expected, atol=4)


def test_a_map_is_lower_where_the_picture_was_degraded(photographs):
    scorer, lower = Scorer(), 0
    for rgb in photographs.values():
        half = rgb.shape[1] // 2
        damaged = rgb.copy()
        damaged[:, :half] = degrade(rgb, "blur", 5)[:, :half]
        before, after = scorer.map(rgb), scorer.map(damaged)
        change = after.scores - before.scores
        assert change.shape == (len(before.centres[0]), len(before.centres[1]))
        edge = min(rgb.shape[:2]) / 6
        left = after.centres[1] + edge <= half
        right = after.centres[1] - edge >= half
        lower += change[:, left].mean() < change[:, right].mean() - 0.3
        assert np.abs(change[:, right]).max() < 1e-3, "what was left alone keeps its scores"
    assert lower >= 4, "half of one is night sky, which has nothing to blur"
