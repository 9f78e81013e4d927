"""`Preprocess` on tensors, with gradients: any picture in, an encoder's [batch, 3, S, S] out.

Pillow resizes each axis by a weighted sum of pixels. Here the weights are a matrix [S, length] per
axis, so that a resize with its crop is two matrix products, deterministic in both directions and in
any floating-point type (TF32, where a program allows it, is a tenth of a level off). Between the
products Pillow rounds to 256 levels, which has no gradient; `rounded` does so too, and passes
gradients through unchanged.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rali.pictures.preprocess import Axis, Preprocess, rows_first

_RADIUS = {"bicubic": 2.0, "bilinear": 1.0}


def resize(pictures: Tensor, preprocess: Preprocess, *, rounded: bool = False) -> Tensor:
    """Pictures [batch, 3, H, W], 0–1 → [batch, 3, S, S], 0–1, before normalisation.

    It equals `Preprocess.pixels` but for the rounding to 256 levels.

    Args:
        rounded: round to whole levels after each pass, as Pillow does; gradients pass straight
            through.
    """
    rows, columns = preprocess.axes(*pictures.shape[-2:])
    down = rows, -2
    across = columns, -1
    for axis, dim in (down, across) if rows_first(rows, columns) else (across, down):
        pictures = _pass(pictures, axis, dim, preprocess, rounded)
    return pictures


def to_levels(pictures: Tensor) -> Tensor:
    """The nearest of 256 levels, 0–1; gradients pass straight through."""
    return pictures + ((pictures * 255 + 0.5).floor() / 255 - pictures).detach()


def _pass(pictures: Tensor, axis: Axis, dim: int, preprocess: Preprocess, rounded: bool) -> Tensor:
    """One axis, resized, then cropped or mirrored to S."""
    kept = torch.from_numpy(axis.kept(preprocess.size)).to(pictures.device)
    whole = axis.begin == 0 and axis.end == axis.length
    if axis.resized == axis.length and whole:
        return pictures.index_select(dim, kept)
    weights = _weights(axis, kept, preprocess.interpolation, pictures)
    made = weights @ pictures if dim == -2 else pictures @ weights.T
    made = made.clamp(0, 1)
    return to_levels(made) if rounded else made


def _weights(axis: Axis, kept: Tensor, interpolation: str, like: Tensor) -> Tensor:
    """[S, length], in `like`'s type and on its device: pixel i is a sum weighted by row i."""
    # Float64 where the device has it: positions in a long picture need more than float32.
    exact = torch.float32 if like.device.type == "mps" else torch.float64
    scale = (axis.end - axis.begin) / axis.resized
    places = kept.to(exact) + 0.5
    pixels = torch.arange(axis.length, device=like.device, dtype=exact) + 0.5
    distances = (pixels - (places * scale + axis.begin)[:, None]).abs() / max(scale, 1.0)
    near = distances.clamp(max=_RADIUS[interpolation])
    if interpolation == "bilinear":
        values = 1 - near
    else:  # Keys' cubic convolution with a = −1/2
        inner = (near * 1.5 - 2.5) * near * near + 1
        outer = (((near - 5) * near + 8) * near - 4) * -0.5
        values = torch.where(near < 1, inner, outer)
    return (values / values.sum(1, keepdim=True)).to(like.dtype)
