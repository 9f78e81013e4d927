"""Where a picture is good and where it is bad: scores of overlapping windows, and their drawing.

In: a picture and a scorer's preprocessing. Out: windows as the model's inputs, and, with their
scores, the picture under colours and a legend. A window keeps the scale at which the model sees the
whole picture, and is mirrored until it fills the input: enlarged, it would look blurred. Needs
numpy and Pillow only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rali.pictures.preprocess import Preprocess

SHARE = 3  # a window's edge is 1/SHARE of the part that the model sees; the step is half an edge
MOST = 24  # windows along an edge at most; without a limit a panorama would take minutes
LONGEST = 1024  # pixels of the longer edge of a drawn picture at most
COLOUR_SHARE = 0.5
GAP = 8  # pixels between the picture and its map
ENDS = ("bad", "excellent")  # words of the lowest and the highest score


@dataclass(frozen=True)
class Heatmap:
    """Scores of windows over a picture.

    Attributes:
        scores: float64 [rows, cols], in the model's score range, from the top left.
        centres: the windows' centres in pixels, ascending: [rows] from the top, [cols] from the
            left.
        picture: uint8 [H, W, 3].
        score_range: the lowest and the highest score that the model gives.
    """

    scores: np.ndarray
    centres: tuple[np.ndarray, np.ndarray]
    picture: np.ndarray
    score_range: tuple[float, float] = (1.0, 5.0)

    def overlay(self) -> Image.Image:
        """The picture, beside it in grey under the scores' colours, above a legend.

        Dark blue is the lowest score that the model gives and yellow the highest, the same for all
        pictures. Lightness rises evenly from one to the other, and hue goes from blue to yellow
        only, which colour-blind readers see as well.
        """
        height, width = self.picture.shape[:2]
        factor = min(1.0, LONGEST / max(height, width))
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        plain = Image.fromarray(self.picture).resize(size, Image.Resampling.LANCZOS)
        grey = np.asarray(plain.convert("L"), np.float64)
        low, high = self.score_range
        down = _between(self.centres[0], (np.arange(size[1]) + 0.5) * height / size[1])
        right = _between(self.centres[1], (np.arange(size[0]) + 0.5) * width / size[0])
        values = down @ self.scores @ right.T
        colours = colour_scale((values - low) / (high - low))
        mixed = _mix(grey, colours)
        legend = _legend(2 * size[0] + GAP, low, high)
        drawn = Image.new("RGB", (legend.width, size[1] + legend.height), "white")
        drawn.paste(plain, (0, 0))
        drawn.paste(Image.fromarray(mixed), (size[0] + GAP, 0))
        drawn.paste(legend, (0, size[1]))
        return drawn


def windows(
    rgb: np.ndarray, preprocess: Preprocess
) -> tuple[tuple[np.ndarray, np.ndarray], Iterator[np.ndarray]]:
    """The windows' centres over a picture, as in `Heatmap`, and the windows, row by row.

    Args:
        rgb: uint8 [H, W, 3].

    Returns:
        The centres, and an iterator over the model's inputs, float32 [3, S, S] each.
    """
    height, width = rgb.shape[:2]
    mode = preprocess.resize_mode
    seen = {"shortest": min, "mirror": max}.get(mode)  # the edge that the model sees as S pixels
    high, wide = (
        min(edge, max(1, (seen(height, width) if seen else edge) // SHARE))
        for edge in (height, width)
    )
    tops, lefts = _starts(height, high), _starts(width, wide)
    small = window_preprocess(preprocess)

    def each() -> Iterator[np.ndarray]:
        rest = preprocess.size - small.size
        for top in tops:
            for left in lefts:
                window = small(rgb[top : top + high, left : left + wide])
                yield np.pad(window, ((0, 0), (0, rest), (0, rest)), "symmetric")

    return (tops + high / 2, lefts + wide / 2), each()


def window_preprocess(preprocess: Preprocess) -> Preprocess:
    """How a window becomes the pixels that are then mirrored until they fill the input."""
    mode: Literal["mirror", "squash"] = "mirror" if preprocess.resize_mode == "mirror" else "squash"
    return dataclasses.replace(preprocess, size=-(-preprocess.size // SHARE), resize_mode=mode)


def _starts(length: int, edge: int) -> np.ndarray:
    """Where the windows along an edge begin: the first at its start, the last against its end."""
    count = min(MOST, 1 + round(2 * (length - edge) / edge))
    return np.unique(np.linspace(0, length - edge, count).astype(int))


def _between(centres: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Weights [places, centres] of linear interpolation; outside, the value at the end holds."""
    return np.stack([np.interp(places, centres, one) for one in np.eye(len(centres))], 1)


def colour_scale(values: np.ndarray) -> np.ndarray:
    """Values 0–1 [...] → uint8 sRGB [..., 3], from dark blue to yellow.

    A straight line in OKLab (Ottosson, 2020), where equal distances look alike.
    """
    share = np.clip(values, 0, 1)[..., None]
    dark, light = np.array([0.32, 0.0, -0.12]), np.array([0.93, -0.02, 0.15])
    lightness, a, b = np.moveaxis(dark + share * (light - dark), -1, 0)
    cones = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ],
        -1,
    )
    linear = cones**3 @ np.array(
        [
            [4.0767416621, -1.2684380046, -0.0041960863],
            [-3.3077115913, 2.6097574011, -0.7034186147],
            [0.2309699292, -0.3413193965, 1.7076147010],
        ]
    )
    linear = np.clip(linear, 0, 1)
    gamma = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return np.rint(255 * gamma).astype(np.uint8)


def _mix(grey: np.ndarray, colours: np.ndarray) -> np.ndarray:
    return np.rint((1 - COLOUR_SHARE) * grey[..., None] + COLOUR_SHARE * colours).astype(np.uint8)


def _legend(width: int, low: float, high: float) -> Image.Image:
    """A bar of the colours, as they look over middle grey, with the scores of five places."""
    font = ImageFont.load_default(size=14)
    bar, margin, gap = 14, 24, 4
    length = max(1, width - 2 * margin)
    legend = Image.new("RGB", (width, bar + 3 * gap + 16), "white")
    scale = colour_scale(np.tile(np.linspace(0, 1, length), (bar, 1)))
    legend.paste(Image.fromarray(_mix(np.full((bar, length), 128.0), scale)), (margin, gap))
    pen = ImageDraw.Draw(legend)
    ends = {0.0: f"{low:g} {ENDS[0]}", 1.0: f"{high:g} {ENDS[1]}"}
    for share in (0.0, 0.25, 0.5, 0.75, 1.0) if width >= 320 else (0.0, 1.0):
        place = margin + share * (length - 1)
        anchor = {0.0: "la", 1.0: "ra"}.get(share, "ma")
        text = ends.get(share, f"{low + share * (high - low):g}")
        pen.text((place, bar + 2 * gap), text, "black", font, anchor=anchor)
    return legend
