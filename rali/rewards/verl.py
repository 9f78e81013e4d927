"""A reward function for verl and verl-omni. In the config:

reward.custom_reward_function.path=pkg://rali.rewards.verl
reward.custom_reward_function.name=compute_score
+reward.custom_reward_function.reward_kwargs.model=builtin
"""

from __future__ import annotations

from typing import Any

from rali.errors import InputError

from .no_grad import rewards_of, shared_reward

# Arguments that verl and verl-omni add, for rewards that ask a language model.
OF_TRAINERS = ("reward_router_address", "reward_model_tokenizer", "model_name", "sampling_params")


def compute_score(
    data_source: Any = None,
    solution_str: Any = None,
    ground_truth: Any = None,
    extra_info: dict[str, Any] | None = None,
    *,
    solution_image: Any = None,
    model: str = "builtin",
    device: Any = None,
    **options: Any,
) -> float:
    """The reward of one picture, or the mean reward of several frames.

    Args:
        solution_image: as verl-omni gives it, uint8 or float (0–1), [3, H, W] or [n, 3, H, W]. If
            it is not given, `extra_info["image"]` is taken: the same, a PIL picture or a path.
        model, device, options: as `RaliReward` takes them, from `reward_kwargs`.

    Raises:
        InputError: there is no picture. TypeError: `RaliReward` has no such option.
    """
    image = solution_image if solution_image is not None else (extra_info or {}).get("image")
    if image is None:
        raise InputError(
            'There is no picture to score: expected solution_image, or extra_info["image"].'
        )
    given = {name: value for name, value in options.items() if name not in OF_TRAINERS}
    return rewards_of(shared_reward(model, device, **given), image).mean().item()
