"""The parts that a training's reward is made of, by name: a table, and functions of your own.

`REWARDS` says of each what it takes. A part that looks at one text takes a `Completion`; one that
compares pictures takes all their scores, a `Compared`. Your own, `module:function`, is of the first
kind: `def my_reward(completion, **options) -> float | None`, None where it has no opinion.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rali.errors import InputError

from .answers import Answer
from .completions import format_reward
from .prompts import Prompt
from .q_insight import comparison_reward, degradation_reward, score_reward
from .rl2r import rl2r_rewards, soft_preferences
from .score_rewards import gaussian_reward, rank_score_rewards
from .tasks import Example, RewardConfig, TaskConfig


@dataclass(frozen=True)
class Completion:
    """One text of the teacher, and what it answers.

    Attributes:
        text: all that it wrote. tokens: the same as token ids.
        answer: the text as a typed answer, or a `Failure`.
        example: the pictures, and the truth about them.
        prompt, task: the question and the task's settings.
        limit: tokens after which a text is cut off.
    """

    text: str
    tokens: Sequence[int]
    answer: Answer
    example: Example
    prompt: Prompt
    task: TaskConfig
    limit: int


@dataclass(frozen=True)
class Compared:
    """The scores of pictures of one task.

    Attributes:
        scores: predicted, [B, K], on the prompt's scale; NaN where a text was not parsed.
        mos, std: of people's ratings, [B]; NaN where they are not known.
        groups: only pictures of one group are compared, [B].
        images: the pictures' paths, [B].
        votes: {(picture, other): how likely the first is better}; see `votes`.
    """

    scores: np.ndarray
    mos: np.ndarray
    std: np.ndarray
    groups: list[str]
    images: list[str]
    votes: Mapping[tuple[str, str], float] = field(default_factory=dict)


@dataclass(frozen=True)
class Reward:
    """One part of a reward.

    Attributes:
        function: of a `Completion` and options, to a number or None; if it is `ranked`, of a
            `Compared`, the task's settings and options, to numbers [B, K], NaN for None.
        needs: fields of `Example` that it cannot do without.
        reads: settings of a `TaskConfig` that it takes; where no part does, they are refused.
        within: options that may not be above the tokens after which a text is cut off.
    """

    function: Callable[..., Any]
    ranked: bool = False
    needs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    within: tuple[str, ...] = ()


def repetition(completion: Completion, *, ngram: int = 3) -> float:
    """−(1 − distinct n-grams / n-grams) of a text's tokens: 0 without repetition, above −1.

    From Demystifying Long Chain-of-Thought Reasoning (arXiv:2502.03373), appendix C.2; TRL's.
    """
    from trl.rewards import get_repetition_penalty_reward

    return float(get_repetition_penalty_reward(ngram)([list(completion.tokens)])[0])


def overlong(completion: Completion, *, cache: int = 128) -> float:
    """DAPO's soft punishment of long texts (arXiv:2503.14476, Eq. 13); TRL's.

    0 up to L_max − cache tokens, then ((L_max − cache) − |y|) / cache, which is −1 at L_max, the
    training's max_completion_length.
    """
    from trl.rewards import get_soft_overlong_punishment

    return float(get_soft_overlong_punishment(completion.limit, cache)([completion.tokens])[0])


def soft(compared: Compared, task: TaskConfig) -> np.ndarray:
    """RL2R with people's preference as a probability, `soft_preferences`, in place of Eq. 2."""
    wanted = soft_preferences(compared.mos, compared.std)
    return rl2r_rewards(
        compared.scores, compared.mos, compared.groups, preferences=wanted, eps=task.fidelity_eps
    )


def voted(compared: Compared, task: TaskConfig) -> np.ndarray:
    """RL2R's fidelity to the model's own majority votes, without people's scores (EvoQuality)."""
    wanted = np.array(
        [[compared.votes.get((a, b), np.nan) for b in compared.images] for a in compared.images]
    )
    return rl2r_rewards(
        compared.scores, compared.mos, compared.groups, preferences=wanted, eps=task.fidelity_eps
    )


# A score that is needed is there: `examples` leaves out rows without one.
REWARDS: dict[str, Reward] = {
    "format": Reward(
        lambda c: format_reward(c.text, c.prompt, form=c.task.format), reads=("format",)
    ),
    "repetition": Reward(repetition),
    "overlong": Reward(overlong, within=("cache",)),
    "rl2r": Reward(
        lambda of, task: rl2r_rewards(
            of.scores, of.mos, of.groups, variant=task.variant, eps=task.fidelity_eps
        ),
        ranked=True,
        needs=("score",),
        reads=("variant", "fidelity_eps"),
    ),
    "threshold": Reward(
        lambda c: score_reward(c.answer, c.example.score, c.task.threshold),
        needs=("score",),
        reads=("threshold",),
    ),
    "gaussian": Reward(
        lambda c, *, sigma=0.5: gaussian_reward(c.answer, c.example.score, sigma),
        needs=("score",),
    ),
    "rank_score": Reward(
        lambda of, task: rank_score_rewards(of.scores, of.mos, of.groups),
        ranked=True,
        needs=("score",),
    ),
    "soft": Reward(soft, ranked=True, needs=("score", "std"), reads=("fidelity_eps",)),
    "voted": Reward(voted, ranked=True, reads=("fidelity_eps",)),
    "degradation": Reward(
        lambda c: degradation_reward(
            c.answer,
            c.example.distortion,
            c.example.severity,
            c.task.class_weight,
            c.task.level_weight,
        ),
        reads=("class_weight", "level_weight"),
    ),
    "comparison": Reward(lambda c: comparison_reward(c.answer, c.example.result)),
}


def find_reward(part: RewardConfig) -> Reward:
    """The reward of this name, or the function that `module:function` names.

    A module may lie in the current folder.

    Raises:
        InputError: there is no such module or function, or it does not take the options.
    """
    reward = REWARDS.get(part.name) or Reward(_own(part.name))
    given = (None, None) if reward.ranked else (None,)
    try:
        inspect.signature(reward.function).bind(*given, **part.options)
    except (TypeError, ValueError) as error:
        raise InputError(f"rewards: {part.name} does not take these options: {error}.") from None
    for name, value in part.options.items() if part.name in REWARDS else ():
        whole = isinstance(_default(reward, name), int)
        kind = int if whole else int | float
        if isinstance(value, bool) or not isinstance(value, kind) or not value > 0:
            number = "a whole number" if whole else "a number"
            raise InputError(f"rewards: {name} of {part.name} is {value!r}; give {number} above 0.")
    return reward


def check_task(task: TaskConfig, limit: int) -> None:
    """Refuse parts of a reward that cannot work, and settings that no part of it takes.

    Args:
        limit: tokens after which a text is cut off.

    Raises:
        InputError: it names the part, or the setting and the parts that take it.
    """
    parts = {part.name: find_reward(part) for part in task.parts}
    for part in task.parts:
        for name in parts[part.name].within:
            if (value := part.options.get(name, _default(parts[part.name], name))) > limit:
                raise InputError(
                    f"rewards: {name} of {part.name} is {value}; give 1 to max_completion_length, "
                    f"{limit}."
                )
    if parts.keys() - REWARDS:  # a function of one's own may take any setting
        return
    taken = {name for reward in parts.values() for name in reward.reads}
    for name in dict.fromkeys(name for reward in REWARDS.values() for name in reward.reads):
        if name not in taken and getattr(task, name) != getattr(TaskConfig, name):
            takers = " or ".join(each for each, reward in REWARDS.items() if name in reward.reads)
            raise InputError(
                f"{name} is {getattr(task, name)!r}, which changes nothing of the reward of "
                f"{task.resolve().name}, {' + '.join(parts)}; leave it out, or add {takers}."
            )


def _default(reward: Reward, option: str) -> Any:
    return inspect.signature(reward.function).parameters[option].default


def _own(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"rewards: {name!r} cannot be imported: {error}.") from error
    if not callable(function):
        raise InputError(f"rewards: {name!r} is no function.")
    return function


def is_ranked(task: TaskConfig) -> bool:
    """Whether a part of the task's reward compares pictures."""
    return any(find_reward(part).ranked for part in task.parts)


def needed(task: TaskConfig) -> set[str]:
    """The fields of `Example` that the parts of the task's reward need."""
    return {name for part in task.parts for name in find_reward(part).needs}
