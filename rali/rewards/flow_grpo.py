"""A reward for Flow-GRPO, DanceGRPO and their kin: `rali_score(device)` is a plain function.

In flow_grpo/rewards.py, inside `multi_score`:

    from rali.rewards.flow_grpo import rali_score
    score_functions = {"rali": rali_score, …}

and in the config `config.reward_fn = {"rali": 1.0}`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .no_grad import rewards_of, shared_reward

Scored = tuple[list[float], dict[str, Any]]


def rali_score(
    device: Any = None, model: str = "builtin", **options: Any
) -> Callable[[Any, Any, Any], Scored]:
    """A function from (images, prompts, metadata) to (scores, {}).

    Args:
        device, model, options: as `RaliReward` takes them.

    The function takes images as uint8 [n, H, W, 3] or float [n, 3, H, W] from 0 to 1. It ignores
    prompts and metadata: a score is about quality alone. It is a plain function because Flow-GRPO
    looks at its `__code__`.
    """
    reward = shared_reward(model, device, **options)

    def score(images: Any, prompts: Any, metadata: Any = None) -> Scored:
        return rewards_of(reward, images).tolist(), {}

    return score
