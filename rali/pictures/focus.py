"""Pictures that are sharp in one place and out of focus in the other, as a lens leaves them."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

STATES = ("depth of field", "missed focus")  # sharp in the place, or around it


def focus(rgb: np.ndarray, state: str, draw: np.random.Generator) -> np.ndarray:
    """The picture with an ellipse near its middle in focus, or out of focus.

    Args:
        rgb: uint8 [H, W, 3]. state: one of `STATES`.
        draw: chooses the place, its size and how far the rest is out of focus.

    Returns:
        uint8 [H, W, 3].
    """
    height, width = rgb.shape[:2]
    edge = min(height, width)
    sharp = Image.fromarray(rgb)
    soft = sharp.filter(ImageFilter.GaussianBlur(edge * draw.uniform(0.008, 0.03)))
    x, y = width * draw.uniform(0.4, 0.6), height * draw.uniform(0.4, 0.6)
    across, down = width * draw.uniform(0.18, 0.3), height * draw.uniform(0.22, 0.38)
    inside = Image.new("L", (width, height))
    ImageDraw.Draw(inside).ellipse((x - across, y - down, x + across, y + down), 255)
    inside = inside.filter(ImageFilter.GaussianBlur(edge * 0.02))
    first, second = (sharp, soft) if state == STATES[0] else (soft, sharp)
    return np.asarray(Image.composite(first, second, inside))
