"""Rewards without gradients for whatever trainers hand over: arrays, tensors, PIL pictures, files.

`RaliReward` itself gives rewards with gradients.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rali.errors import InputError, PictureError, shortened
from rali.pictures.read import open_picture

from .reward import RaliReward

BATCH = 32  # pictures per forward pass
_loading = Lock()


def shared_reward(model: str = "builtin", device: Any = None, **options: Any) -> RaliReward:
    """One `RaliReward` for all calls with the same arguments: trainers call plain functions often.

    Args:
        device: by default the GPU of LOCAL_RANK where there is a GPU; CUDA's current device differs
            from thread to thread.
        options: as `RaliReward` takes them, or as a configuration file holds them.
    """
    if device is None and torch.cuda.is_available():
        rank = int(os.environ.get("LOCAL_RANK", torch.cuda.device_count()))
        current = rank if rank < torch.cuda.device_count() else torch.cuda.current_device()
        device = torch.device("cuda", current)
    if "input_range" in options:  # YAML has lists only
        options["input_range"] = tuple(options["input_range"])
    with _loading:  # else threads that call at the same time would each load a model
        return _reward(model, device, **options)


@lru_cache(maxsize=8)
def _reward(model: str, device: Any, **options: Any) -> RaliReward:
    return RaliReward(model, device=device, **options)


@torch.no_grad()
def rewards_of(reward: RaliReward, images: Any) -> Tensor:
    """Rewards [n], float32 on the CPU, for what `pictures_of` takes; sizes may differ."""
    pictures = pictures_of(images, reward.input_range)
    if not pictures:
        return torch.zeros(0)
    scores = torch.zeros(len(pictures))
    by_size: dict[torch.Size, list[int]] = {}
    for place, picture in enumerate(pictures):
        by_size.setdefault(picture.shape, []).append(place)
    for places in by_size.values():
        for chunk in (places[start : start + BATCH] for start in range(0, len(places), BATCH)):
            batch = torch.stack([pictures[place] for place in chunk])
            scores[chunk] = reward(batch.to(reward.mean.device)).float().cpu()
    return scores


def pictures_of(images: Any, input_range: tuple[float, float] = (0.0, 1.0)) -> list[Tensor]:
    """Each picture as float [3, H, W] in `input_range`.

    Args:
        images: a tensor or an array, uint8 or float in `input_range`, [n, H, W, 3] or
            [n, 3, H, W]; or several pictures, each PIL's, a file, or such an array without n.

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
    elif not _is_several(images):
        images = [images]
    return [_picture(image, *input_range) for image in images]


def _is_several(images: Any) -> bool:
    """Whether these are several pictures; text, bytes, cells and open files are one each."""
    one = isinstance(images, str | bytes | bytearray | Mapping) or hasattr(images, "read")
    return isinstance(images, Iterable) and not one


def _picture(image: Any, low: float, high: float) -> Tensor:
    if not isinstance(image, Tensor | np.ndarray):
        try:
            image = open_picture(image)
        except PictureError as error:
            name = f"{shortened(image)}: " if isinstance(image, str | Path) else ""
            raise PictureError(f"{name}{error}") from error
    picture = (
        image if isinstance(image, Tensor) else torch.tensor(image)
    )  # a copy: some are read-only
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
