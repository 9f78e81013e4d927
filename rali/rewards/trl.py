"""A reward function for TRL's GRPOTrainer, for policies that make or choose pictures.

GRPOTrainer(model, reward_funcs=rali_reward("made"), rollout_func=rollout, …)

where `rollout(prompts, trainer)` returns, beside its prompt_ids, completion_ids and logprobs,
"made": the picture of each completion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rali.errors import InputError

from .no_grad import rewards_of, shared_reward


def rali_reward(
    column: str, model: str = "builtin", device: Any = None, **options: Any
) -> Callable[..., list[float]]:
    """A function from (prompts, completions, **columns) to one reward per completion.

    Args:
        column: which of the lists that the rollout function returns holds the completions'
            pictures: PIL pictures, arrays, tensors or paths. A column of the data set belongs to
            the prompt: all its completions would get the same reward, and no advantage.
        model, device, options: as `RaliReward` takes them.
    """
    reward = shared_reward(model, device, **options)

    def rali_quality(prompts: Any = None, completions: Any = None, **columns: Any) -> list[float]:
        if columns.get(column) is None:
            raise InputError(
                f"There is no column {column!r} with pictures; the trainer gives "
                f"{', '.join(sorted(columns)) or 'none'}. Give rali_reward(NAME)."
            )
        return rewards_of(reward, columns[column]).tolist()

    return rali_quality
