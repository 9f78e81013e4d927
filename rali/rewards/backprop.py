"""Losses for trainers that send gradients through the reward: AlignProp, DRaFT, ReFL.

AlignProp (main.py): `loss_fn = rali_loss(grad_scale=config.grad_scale, device=accelerator.device)`
replaces `aesthetic_loss_fn(…)`. ReFL (ReFL.py): `loss_fn = rali_loss(input_range=(0, 1),
device=self.accelerator.device)`; keep `image = (image / 2 + 0.5).clamp(0, 1)`, and after it
`loss = loss_fn(image)[0].mean()` replaces its preprocessing, `score_gard` and `F.relu`. TRL's
AlignPropTrainer, in versions that have it: `rali_alignprop()`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .no_grad import shared_reward


def rali_loss(
    grad_scale: float = 1.0,
    device: Any = None,
    dtype: torch.dtype = torch.float32,
    model: str = "builtin",
    **options: Any,
) -> Callable[..., tuple[Tensor, Tensor]]:
    """A function from decoded pictures [n, 3, H, W], −1 to 1, to (losses [n], rewards [n]).

        loss = −grad_scale · reward,     for each picture: AlignProp averages them itself

    Args:
        device, dtype, model, options: as `RaliReward` takes them; `input_range` is (−1, 1) by
            default, as a diffusion model's decoder gives it.
    """
    options = {"input_range": (-1.0, 1.0), **options}
    reward = shared_reward(model, device, dtype=dtype, **options)

    def loss(pictures: Tensor, prompts: Any = None) -> tuple[Tensor, Tensor]:
        rewards = reward(pictures)
        return -grad_scale * rewards, rewards

    return loss


def rali_alignprop(
    model: str = "builtin", device: Any = None, **options: Any
) -> Callable[..., tuple[Tensor, dict[str, Any]]]:
    """A function from (pictures [n, 3, H, W], 0–1, prompts, metadata) to (rewards [n], {})."""
    reward = shared_reward(model, device, **options)

    def score(
        pictures: Tensor, prompts: Any = None, metadata: Any = None
    ) -> tuple[Tensor, dict[str, Any]]:
        return reward(pictures), {}

    return score
