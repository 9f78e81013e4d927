"""Several rewards as one: mix({"rali": 0.5, clip_score: 0.5}).

    reward(x) = Σ weight · (part(x) − low) / (high − low)

where a part without a range counts as it comes: low 0, high 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rali.errors import InputError, shortened

from .reward import as_number, as_pair

Function = Callable[..., Any]
_AS_IT_COMES = (0.0, 1.0)


def mix(
    parts: Mapping[str | Function, float],
    ranges: Mapping[str, tuple[float, float]] | None = None,
    *,
    model: str = "builtin",
    device: Any = None,
    **options: Any,
) -> Mix:
    """One reward that is the weighted sum of several.

    Args:
        parts: each part and its weight; a negative one is a penalty. "rali" is the quality score
            with `scaling="affine"`: 1–5 counts as 0–1. A function is called as the mix is called,
            and returns one reward per picture, alone or as the first of a tuple.
        ranges: by a function's name, which of its values count as 0 and as 1, such as
            {"clip_score": (0.1, 0.4)}; nothing is clipped.
        model, device, options: of "rali", as `RaliReward` takes them, but for its scaling.

    Raises:
        InputError: a part is neither "rali" nor a function, two have one name, a weight is not a
            number, a range belongs to no function, or there are options and no "rali".
    """
    for name, given in (("parts", parts), ("ranges", ranges or {})):
        if not isinstance(given, Mapping):
            raise InputError(f"{name} is {shortened(repr(given))}; expected a dict.")
    if "scaling" in options:
        raise InputError(
            'A mix takes "rali" with scaling="affine": leave scaling out, and set its weight.'
        )
    if options and "rali" not in parts:
        raise InputError(f'{", ".join(options)} is for "rali", which is no part of this mix.')
    made, left = dict[str, _Part](), dict(ranges or {})
    for part, weight in parts.items():
        interval: Any = _AS_IT_COMES
        if callable(part):
            function, name = part, str(getattr(part, "__name__", type(part).__name__))
            interval = left.pop(name, interval)
        elif part == "rali":
            function, name = _quality(model, device, **options), "rali"
        else:
            raise InputError(f'A part is "rali" or a function; got {shortened(repr(part))}.')
        if name in made:
            raise InputError(f"Two parts are called {name!r}: give one another __name__.")
        numbers = as_number(weight), *as_pair(interval)
        if not all(map(math.isfinite, numbers)) or numbers[1] >= numbers[2]:
            raise InputError(
                f"{name!r} has the weight {weight!r} and the range {interval!r}; expected numbers, "
                "and of a range two, the lower one first."
            )
        made[name] = _Part(function, *numbers)
    if left or not made:
        raise InputError(
            f"ranges names {', '.join(left) or 'nothing'}, and the functions of the mix are "
            f"{', '.join(name for name in made if name != 'rali') or 'none'}."
        )
    return Mix(made)


class _Part(NamedTuple):
    function: Function
    weight: float
    low: float
    high: float


class Mix:
    """A weighted sum of rewards; its `repr` is the formula, with the scale of each part.

    Called with pictures first, as Flow-GRPO and ddpo-pytorch do, it returns (rewards, parts), where
    `parts` has each part's own rewards under its name. Called with keywords only, as TRL does, it
    returns the rewards, and TRL logs each part's mean as `reward_part/NAME`; "rali" needs pictures,
    so its part is then `rali.rewards.trl.rali_reward(COLUMN)`.

    Attributes:
        last: each part's own rewards of the latest call, before range and weight.
    """

    __name__ = "mix"  # as TRL names a reward

    def __init__(self, parts: dict[str, _Part]) -> None:
        self._parts = parts
        self.last: dict[str, list[float]] = {}

    def __repr__(self) -> str:
        terms = []
        for name, (_, weight, low, high) in self._parts.items():
            scale = f"from {low:g} to {high:g}"
            if (low, high) == _AS_IT_COMES:
                scale = "1–5 as 0–1" if name == "rali" else "as it comes"
            terms.append(f"{weight:g} · {name} ({scale})")
        return " + ".join(terms)

    def __call__(self, *pictures: Any, **columns: Any) -> Any:
        """The rewards of a batch, as the class says.

        Raises:
            InputError: a part gives other than one number per picture.
        """
        given = {
            name: _numbers(name, part.function(*pictures, **columns))
            for name, part in self._parts.items()
        }
        counts = {name: len(values) for name, values in given.items()}
        if len(set(counts.values())) > 1:
            raise InputError(
                "The parts of a mix give different numbers of rewards: "
                f"{', '.join(f'{name} {count}' for name, count in counts.items())}."
            )
        self.last = given
        sums = [0.0] * next(iter(counts.values()))
        for name, (_, weight, low, high) in self._parts.items():
            for place, value in enumerate(given[name]):
                sums[place] += weight * (value - low) / (high - low)
        if pictures:
            return sums, given
        if log := columns.get("log_metric"):
            for name, values in given.items():
                log(f"reward_part/{name}", sum(values) / max(1, len(values)))
        return sums


def _quality(model: str, device: Any, **options: Any) -> Function:
    from .no_grad import rewards_of, shared_reward

    reward = shared_reward(model, device, scaling="affine", **options)

    def quality(*given: Any, **columns: Any) -> Any:
        if not given:
            raise InputError(
                '"rali" in a mix takes the pictures as its first argument. Where a trainer gives '
                "keywords only, put rali_reward(COLUMN) of rali.rewards.trl in its place."
            )
        return rewards_of(reward, given[0])

    return quality


def _numbers(name: str, rewards: Any) -> list[float]:
    """One finite number per picture, of a list, an array, a tensor or a tuple that begins so."""
    if isinstance(rewards, tuple) and rewards:
        rewards = rewards[0]
    rewards = rewards.tolist() if hasattr(rewards, "tolist") else rewards
    try:
        numbers = [float(value) for value in rewards]
    except (TypeError, ValueError):
        raise InputError(
            f"{name} gives {shortened(repr(rewards))}; expected a list of numbers, one per picture."
        ) from None
    for place, value in enumerate(numbers):
        if not math.isfinite(value):
            raise InputError(f"{name} gives {value} for picture {place + 1}, which is no number.")
    return numbers
