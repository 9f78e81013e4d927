"""A reward function for verl and verl-omni. In the config:

reward.custom_reward_function.path=pkg://rali.rewards.verl
reward.custom_reward_function.name=compute_score
+reward.custom_reward_function.reward_kwargs.model=builtin

Beside others in verl-omni's MultiVisualRewardManager, where a reward that fails counts 0 unless it
is required:

+reward.reward_functions.rali.path=pkg://rali.rewards.verl
+reward.reward_functions.rali.name=compute_score
+reward.reward_functions.rali.weight=0.5
+reward.reward_functions.rali.required=true
+reward.reward_functions.rali.scaling=affine
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from typing import Any

from rali.errors import InputError

from .no_grad import rewards_of, shared_reward
from .reward import RaliReward, Scaling, check_scaling, scaled

OPTIONS = ("input_range", "dtype", "caution", "cutoff", "rounded")
# Arguments that verl and verl-omni add, for rewards that ask a language model.
OF_TRAINERS = {"reward_router_address", "reward_model_tokenizer", "model_name", "sampling_params"}


def compute_score(
    data_source: Any = None,
    solution_str: Any = None,
    ground_truth: Any = None,
    extra_info: dict[str, Any] | None = None,
    *,
    solution_image: Any = None,
    model: str = "builtin",
    device: Any = None,
    scaling: Scaling = "none",
    **options: Any,
) -> dict[str, float]:
    """The reward of one picture, or the mean reward of several frames.

    Args:
        solution_image: as verl-omni gives it, uint8 or float (0–1), [3, H, W] or [n, 3, H, W]. If
            it is not given, `extra_info["image"]` is taken: the same, a PIL picture or a path.
        model, device, scaling, options: as `RaliReward` takes them, from `reward_kwargs` or the
            entry. Other keywords, which a later trainer may add, are left out with one warning.

    Returns:
        "score", and "rali_raw": the same without `scaling`, which the trainer logs.

    Raises:
        InputError: there is no picture, or an option is misspelt.
    """
    image = picture_of(solution_image, extra_info)
    refuse_misspelt(options, ("model", "device", "scaling", *OPTIONS))
    check_scaling(scaling)
    given = {name: value for name, value in options.items() if name in OPTIONS}
    reward: RaliReward = shared_reward(model, device, **given)
    raw = rewards_of(reward, image)
    return {
        "score": scaled(raw, scaling, reward.score_range).mean().item(),
        "rali_raw": raw.mean().item(),
    }


def picture_of(solution_image: Any, extra_info: dict[str, Any] | None) -> Any:
    """What is to be scored, of what verl gives.

    Raises:
        InputError: there is no picture.
    """
    image = solution_image if solution_image is not None else (extra_info or {}).get("image")
    if image is None:
        raise InputError(
            'There is no picture to score: expected solution_image, or extra_info["image"].'
        )
    return image


def refuse_misspelt(given: Iterable[str], options: Iterable[str]) -> None:
    """Warn once of keywords that are no option.

    Raises:
        InputError: one of them is nearly an option, such as a guard, that must not be left out.
    """
    options = tuple(options)
    for name in sorted(set(given) - set(options) - OF_TRAINERS):
        if near := difflib.get_close_matches(name, options, 1, 0.75):
            raise InputError(f"There is no option {name!r}; did you mean {near[0]!r}?")
        if name not in _warned:
            _warned.add(name)
            warnings.warn(f"The reward knows no {name!r} and leaves it out.", stacklevel=3)


_warned = set[str]()
