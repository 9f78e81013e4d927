"""The losses of trainers that go through the reward: AlignProp, DRaFT, ReFL.

AlignProp (main.py): `loss_fn = rali_loss(grad_scale=config.grad_scale, device=device)` in the place
of `aesthetic_loss_fn(…)`. ReFL: `loss, _ = loss_fn(decoded)` where it computes its rewards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .judge import shared_reward


def rali_loss(
    grad_scale: float = 1.0,
    device: Any = None,
    dtype: torch.dtype = torch.float32,
    model: str = "builtin",
    **options: Any,
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """A function of decoded pictures [n, 3, H, W], −1 to 1, to (loss [], rewards [n]).

        loss = −grad_scale · mean(rewards)

    Args:
        device, dtype, model, options: as `RaliReward` takes them; `input_range` is (−1, 1), as a
            diffusion model's decoder gives it, unless said otherwise.
    """
    options = {"input_range": (-1.0, 1.0), **options}
    reward = shared_reward(model, device, dtype=dtype, **options)

    def loss(pictures: Tensor) -> tuple[Tensor, Tensor]:
        rewards = reward(pictures)
        return -grad_scale * rewards.mean(), rewards

    return loss
