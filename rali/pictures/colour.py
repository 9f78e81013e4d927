"""Colour management: a `PIL.Image` in any colour space in, one of mode RGB in sRGB out.

Pillow's ImageCms is imported where it is used: most pictures do not need it.
"""

from __future__ import annotations

import functools
import io
from typing import Any

import numpy as np
from PIL import Image

from .cicp import Space, space_to_srgb


def to_srgb(image: Image.Image, profile: bytes | Space | None) -> Image.Image:
    """Convert `L`, `RGB`, `CMYK` or `LAB`, by the profile or space where it fits the picture."""
    if isinstance(profile, Space):
        if image.mode in ("L", "RGB") and not profile.is_srgb:
            return Image.fromarray(space_to_srgb(np.asarray(image.convert("RGB")), profile))
        profile = None
    if image.mode == "LAB":
        from PIL import ImageCms

        return ImageCms.buildTransform(
            ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
        ).apply(image)
    if profile and (space := _profile_space(profile)):
        if image.mode == "L" and space == "RGB":
            image = image.convert("RGB")
        wanted = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}[image.mode]
        if space == wanted and not (image.mode == "RGB" and _is_srgb(profile)):
            try:
                return _transform(profile, image.mode).apply(image)
            except Exception:  # a broken profile: the pixels are taken as sRGB
                pass
    return image.convert("RGB")


def _transform(profile: bytes, mode: str) -> Any:
    from PIL import ImageCms

    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")


@functools.lru_cache(maxsize=32)
def _profile_space(profile: bytes) -> str | None:
    """The space that it describes: RGB, GRAY, CMYK …; None when it cannot be read."""
    from PIL import ImageCms

    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return str(opened.profile.xcolor_space).strip()
    except Exception:
        return None


@functools.lru_cache(maxsize=32)
def _is_srgb(profile: bytes) -> bool:
    """Whether the profile moves no colour by more than one level; then pixels stay exact."""
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(1, -1, 3)
    try:
        moved = np.asarray(_transform(profile, "RGB").apply(Image.fromarray(cube)))
    except Exception:
        return False
    return int(np.abs(moved.astype(int) - cube.astype(int)).max()) <= 1
