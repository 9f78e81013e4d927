"""A reward function for TRL's GRPOTrainer, of policies that make or choose pictures:

GRPOTrainer(model, reward_funcs=rali_reward(column="image"), …)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import InputError
from .judge import judge, shared_reward


def rali_reward(
    column: str = "image", model: str = "builtin", device: Any = None, **options: Any
) -> Callable[..., list[float]]:
    """A function of (prompts, completions, **columns) to one reward per completion.

    Args:
        column: where a completion's picture is: a column of the data set, or what the trainer's
            rollout function adds; a PIL picture, array, tensor or path each.
        model, device, options: as `RaliReward` takes them.
    """
    reward = shared_reward(model, device, **options)

    def rali_quality(prompts: Any = None, completions: Any = None, **columns: Any) -> list[float]:
        if columns.get(column) is None:
            raise InputError(
                f"There is no column {column!r} with pictures; the trainer gives "
                f"{', '.join(sorted(columns)) or 'none'}. Give rali_reward(column=NAME)."
            )
        return judge(reward, columns[column]).tolist()

    return rali_quality
