"""Photographs that every install of the `distill` extra has, inside scikit-learn and scikit-image.

The quickstart, the check of an export and `rali probe` use them when no picture is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

# Scenes only: the packages' textures and microscope pictures do not look like photographs.
SAMPLES = {
    "china": ("sklearn.datasets.images", "china.jpg"),
    "flower": ("sklearn.datasets.images", "flower.jpg"),
    "astronaut": ("skimage.data", "astronaut.png"),
    "camera": ("skimage.data", "camera.png"),
    "chelsea": ("skimage.data", "chelsea.png"),
    "coffee": ("skimage.data", "coffee.png"),
    "hubble": ("skimage.data", "hubble_deep_field.jpg"),
    "motorcycle": ("skimage.data", "motorcycle_left.png"),
    "rocket": ("skimage.data", "rocket.jpg"),
}
IN_COLOUR = ("china", "flower", "astronaut", "chelsea", "coffee", "rocket")
# None is square, edges of 300 to 640 pixels: a conversion that squashes shows in these.
NOT_SQUARE = ("coffee", "chelsea", "rocket", "china", "flower")


def sample_files(names: Sequence[str] = tuple(SAMPLES)) -> list[Path]:
    """Where the photographs lie."""
    return [Path(str(files(package) / file)) for package, file in (SAMPLES[n] for n in names)]


def sample_photographs(names: Sequence[str] = NOT_SQUARE) -> list[np.ndarray]:
    """The photographs, uint8 [H, W, 3] each."""
    return [np.asarray(Image.open(file).convert("RGB")) for file in sample_files(names)]
