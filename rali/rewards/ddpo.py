"""A reward for ddpo-pytorch, and for TRL's DDPOTrainer in versions that have it.

In ddpo_pytorch/rewards.py:

    from rali.rewards.ddpo import rali_reward

and in the config `config.reward_fn = "rali_reward"`. In TRL: `DDPOTrainer(config, rali_reward(),
prompts, pipeline)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .no_grad import rewards_of, shared_reward

Scored = tuple[np.ndarray, dict[str, Any]]


def rali_reward(
    model: str = "builtin", device: Any = None, **options: Any
) -> Callable[[Any, Any, Any], Scored]:
    """A function from (images, prompts, metadata) to (float32 [n], {}).

    Args:
        model, device, options: as `RaliReward` takes them.

    The function takes images as float [n, 3, H, W] from 0 to 1 or uint8 [n, H, W, 3].
    """
    reward = shared_reward(model, device, **options)

    def score(images: Any, prompts: Any, metadata: Any = None) -> Scored:
        return rewards_of(reward, images).numpy(), {}

    return score
