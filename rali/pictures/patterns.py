"""Pictures that test a reward: patterns, mosaics of photographs, and artefacts over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 512


def square(rgb: np.ndarray, size: int = SIZE) -> np.ndarray:
    """The centre square, resized: uint8 [size, size, 3]."""
    height, width = rgb.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    image = Image.fromarray(np.ascontiguousarray(rgb[top : top + edge, left : left + edge]))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def non_photographs(seed: int = 0, size: int = SIZE) -> dict[str, list[np.ndarray]]:
    """Patterns that no camera takes, by name: uint8 [size, size, 3] each."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]

    def grey(values: np.ndarray) -> np.ndarray:
        levels = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
        return np.repeat(levels[..., None], 3, -1) if levels.ndim == 2 else levels

    colours = ((0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0.8, 0))
    return {
        "constant colours": [grey(np.broadcast_to(c, (size, size, 3))) for c in np.array(colours)],
        "uniform noise": [
            grey(generator.random((size, size, 3))),
            grey(generator.random((size, size))),
        ],
        "Gaussian noise": [
            grey(0.5 + deviation * generator.standard_normal((size, size, 3)))
            for deviation in (0.05, 0.15, 0.3)
        ],
        "checkerboards": [grey((x // edge + y // edge) % 2.0) for edge in (1, 2, 4, 8, 16, 32, 64)],
        "gradients": [
            grey(x / (size - 1)),
            grey(y / (size - 1)),
            grey(np.hypot(x - size / 2, y - size / 2) / size),
            grey(np.stack([x, y, size - 1 - x], -1) / (size - 1)),
        ],
        "single-pixel lines": [
            grey(lines % every < 1.0) for every in (2, 4, 8, 16) for lines in (x, y, x + y)
        ],
        "text screens": [_text(generator, dark, size) for dark in (False, True)],
    }


def other_patterns(seed: int = 0, size: int = SIZE) -> dict[str, list[np.ndarray]]:
    """More patterns, of kinds that the built-in model was not trained to score low."""
    generator = np.random.default_rng((seed, 1))
    y, x = np.mgrid[:size, :size] / size

    def rgb(values: np.ndarray) -> np.ndarray:
        levels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
        return np.repeat(levels[..., None], 3, -1) if levels.ndim == 2 else levels

    def clouds(cells: int) -> np.ndarray:
        coarse = rgb(generator.random((cells, cells, 3)))
        return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))

    rectangles = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(rectangles)
    for left, top in generator.integers(0, size, (60, 2)).tolist():
        right, bottom = (
            left + int(generator.integers(8, 200)),
            top + int(generator.integers(8, 200)),
        )
        draw.rectangle((left, top, right, bottom), tuple(generator.integers(0, 256, 3).tolist()))
    modules = generator.integers(0, 2, (32, 32)).repeat(size // 32, 0).repeat(size // 32, 1)
    squared = (x - 0.5) ** 2 + (y - 0.5) ** 2
    return {
        "zone plates": [
            rgb(0.5 + 0.5 * np.cos(rings * squared)) for rings in range(150, 3000, 300)
        ],
        "clouds of colour": [clouds(cells) for cells in (4, 16, 64)],
        "rectangles": [np.asarray(rectangles)],
        "code of squares": [rgb(modules.astype(float))],
    }


def _text(generator: np.random.Generator, dark: bool, size: int) -> np.ndarray:
    ink, paper = ("white", "black") if dark else ("black", "white")
    image = Image.new("RGB", (size, size), paper)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(14)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz      0123456789"))
    for top in range(6, size - 14, 19):
        draw.text((8, top), "".join(generator.choice(letters, 62)), ink, font)
    return np.asarray(image)


def mosaic(photographs: Sequence[np.ndarray], count: int, size: int = SIZE) -> np.ndarray:
    """count × count photographs, each shrunk: uint8 [size, size, 3]."""
    edge = size // count
    tiles = [square(photographs[n % len(photographs)], edge) for n in range(count * count)]
    rows = [np.concatenate(tiles[n : n + count], 1) for n in range(0, len(tiles), count)]
    return square(np.concatenate(rows, 0), size)


def artefacts(rgb: np.ndarray) -> dict[str, np.ndarray]:
    """A picture under the artefacts that reward-hacked generators produce, by name."""
    size = rgb.shape[0]
    y, x = np.mgrid[:size, : rgb.shape[1]]

    def lay(pattern: np.ndarray, strength: float) -> np.ndarray:
        values = rgb + 255 * strength * (pattern - pattern.mean())[..., None]
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)

    dots = (np.cos(2 * np.pi * x / 6) + np.cos(2 * np.pi * y / 6)) / 4 + 0.5
    return {
        "fine grid": lay(((x % 8 < 1) | (y % 8 < 1)).astype(float), 0.15),
        "two-pixel grid": lay(((x + y) % 2).astype(float), 0.1),
        "halftone": lay(dots, 0.25),
        "diagonal hatching": lay(((x + y) % 6 < 2).astype(float), 0.15),
    }
