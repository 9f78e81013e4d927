"""Whatever trainers hand over, as float tensors: arrays, tensors, PIL pictures, files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rali.errors import InputError, PictureError, shortened
from rali.pictures.read import open_picture

# One picture each, although Python could go through their parts.
_SINGLE = (str, bytes, bytearray, memoryview, Mapping)


def pictures_of(images: Any, input_range: tuple[float, float] = (0.0, 1.0)) -> list[Tensor]:
    """Each picture as float [3, H, W] in `input_range`.

    Args:
        images: a tensor or an array, uint8 or float in `input_range`, [n, H, W, 3] or
            [n, 3, H, W]; or one or several pictures, each PIL's, a file, its bytes, or such an
            array without n.

    Raises:
        InputError: something else was given.
        PictureError: a file cannot be read; the message names it.
    """
    if isinstance(images, Tensor | np.ndarray):
        if images.ndim == 3:
            images = images[None]
        if images.ndim != 4:
            raise InputError(
                f"Pictures are [n, H, W, 3] or [n, 3, H, W]; got {list(images.shape)}."
            )
    elif isinstance(images, _SINGLE) or hasattr(images, "read") or not isinstance(images, Iterable):
        images = [images]
    return [_picture(image, *input_range) for image in images]


def _picture(image: Any, low: float, high: float) -> Tensor:
    if not isinstance(image, Tensor | np.ndarray):
        try:
            image = open_picture(image)
        except PictureError as error:
            name = f"{shortened(image)}: " if isinstance(image, str | Path) else ""
            raise PictureError(f"{name}{error}") from error
    # A copy of arrays: some are read-only, and some run backwards (`[..., ::-1]`).
    picture = image if isinstance(image, Tensor) else torch.from_numpy(np.array(image, order="C"))
    if picture.ndim == 3 and picture.shape[0] != 3 and picture.shape[2] == 3:
        picture = picture.permute(2, 0, 1)
    if picture.ndim != 3 or picture.shape[0] != 3:
        raise InputError(f"A picture is [H, W, 3] or [3, H, W]; got {list(picture.shape)}.")
    if picture.dtype == torch.uint8:
        return low + (high - low) * (picture.float() / 255)
    if not picture.is_floating_point():
        raise InputError(
            f"A picture is uint8, or float from {low:g} to {high:g}; got {picture.dtype}."
        )
    return picture.float()
