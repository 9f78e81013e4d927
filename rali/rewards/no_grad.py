"""Rewards without gradients for whatever trainers hand over: arrays, tensors, PIL pictures, files.

`RaliReward` itself gives rewards with gradients.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from rali.errors import InputError, shortened
from rali.scoring.model_folder import CONFIG_FILE, WEIGHTS_FILE

from .pictures import pictures_of
from .reward import RaliReward

_loading = Lock()


def shared_reward(model: str = "builtin", device: Any = None, **options: Any) -> RaliReward:
    """One `RaliReward` for all calls with the same arguments: trainers call plain functions often.

    A folder whose files have changed since is loaded anew.

    Args:
        device: by default the GPU of LOCAL_RANK where there is a GPU; CUDA's current device differs
            from thread to thread.
        options: as `RaliReward` takes them, or as a configuration file holds them.

    Raises:
        InputError: an option is of no type that `RaliReward` takes.
    """
    if device is None and torch.cuda.is_available():
        rank = int(os.environ.get("LOCAL_RANK", torch.cuda.device_count()))
        current = rank if rank < torch.cuda.device_count() else torch.cuda.current_device()
        device = torch.device("cuda", current)
    options = {name: _plain(name, value) for name, value in options.items()}
    with _loading:  # else threads that call at the same time would each load a model
        return _reward(model, _stamp(Path(model)), device, **options)


def _stamp(folder: Path) -> tuple[tuple[int, int], ...]:
    """Sizes and times of a model folder's files, which another model in it changes."""
    files = [folder / name for name in (CONFIG_FILE, WEIGHTS_FILE)]
    return tuple((s.st_size, s.st_mtime_ns) for s in (f.stat() for f in files if f.is_file()))


def _plain(name: str, value: Any) -> Any:
    """An option that equal ones equal: lists, OmegaConf's too, as tuples, arrays as numbers."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, Iterable) and not isinstance(plain, str | Mapping):
        plain = tuple(_plain(name, each) for each in plain)
    if not isinstance(plain, Hashable):
        raise InputError(
            f"{name} is {shortened(repr(value))}; expected a number, a text or a list of numbers."
        )
    return plain


@lru_cache(maxsize=8)
def _reward(model: str, stamp: object, device: Any, **options: Any) -> RaliReward:
    return RaliReward(model, device=device, **options)


@torch.no_grad()
def rewards_of(reward: RaliReward, images: Any) -> Tensor:
    """Rewards [n], float32 on the CPU, for what `pictures_of` takes; sizes may differ."""
    return reward.score_each(pictures_of(images, reward.input_range)).float().cpu()
