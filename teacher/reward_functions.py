"""The rewards of a training as TRL calls them: on one process's completions, in lockstep.

In: completions and the places of their examples. Out: for each part of the reward one number each,
or None where the task has no such part, or a picture has nothing to be compared with. Rewards that
compare pictures gather the scores of all processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from rali.errors import InputError

from .answers import Answer, Failure, Score
from .completions import parse, whole
from .prompts import Prompt
from .rewards import Compared, Completion, find_reward
from .tasks import Example, RewardConfig, TaskConfig

Votes = Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class Prediction:
    """One completion's score, with what is needed to compare it; see `ranked_rewards`."""

    task: int
    dataset: str
    image: str
    mos: float
    score: float
    block: int = 0
    std: float = float("nan")


def ranked_rewards(
    predictions: Sequence[Prediction],
    tasks: Sequence[TaskConfig],
    parts: Mapping[int, RewardConfig] | None = None,
    votes: Votes | None = None,
) -> list[float | None]:
    """A ranked reward of every completion; None for a picture that has no partner.

    Completions of one picture may stand anywhere in the list. Pictures are compared within one task
    and data set.

    Args:
        parts: {task: the part of its reward}; RL2R's by default.
        votes: for "voted".
    """
    parts = dict.fromkeys(range(len(tasks)), RewardConfig("rl2r")) if parts is None else parts
    rows: dict[tuple[int, str, str, int], list[int]] = {}
    for index, prediction in enumerate(predictions):
        key = (prediction.task, prediction.dataset, prediction.image, prediction.block)
        rows.setdefault(key, []).append(index)
    found: list[float | None] = [None] * len(predictions)
    for place, part in parts.items():
        own = [(key, members) for key, members in rows.items() if key[0] == place]
        if not own:
            continue
        scores = np.full((len(own), max(len(members) for _, members in own)), np.nan)
        for row, (_, members) in enumerate(own):
            scores[row, : len(members)] = [predictions[index].score for index in members]
        firsts = [predictions[members[0]] for _, members in own]
        compared = Compared(
            scores=scores,
            mos=np.array([first.mos for first in firsts]),
            std=np.array([first.std for first in firsts]),
            groups=[f"{first.block} {first.dataset}" for first in firsts],
            images=[first.image for first in firsts],
            votes=votes or {},
        )
        rewards = find_reward(part).function(compared, tasks[place], **part.options)
        for row, (_, members) in enumerate(own):
            for column, index in enumerate(members):
                reward = float(rewards[row, column])
                found[index] = None if np.isnan(reward) else reward
    return found


class Rewards:
    """The parts of a training's reward, as TRL calls them: on the completions of one process.

    Beside each completion stands the column `place`: its example's place in `drawn`.

    Attributes:
        functions: one for each part, named after it; `weights`: what TRL multiplies them with.

    Args:
        tasks: the training's tasks.
        drawn: the training's examples, in the order of its data set.
        pair_scope: whether pictures are compared over all processes ("global") or within one
            ("process").
        compare: so many examples that follow each other in `drawn` are compared; 0 takes all.
        limit: tokens after which a completion is cut off.
        opening: what the chat template writes of a completion; see `models.thought_opening`.
        votes: for the reward "voted"; see `votes`.
    """

    def __init__(
        self,
        tasks: Sequence[TaskConfig],
        drawn: Sequence[Example],
        pair_scope: str = "global",
        compare: int = 0,
        opening: str = "",
        limit: int = 512,
        votes: Votes | None = None,
    ) -> None:
        self.opening = opening
        self.tasks, self.drawn, self.pair_scope, self.compare = tasks, drawn, pair_scope, compare
        self.limit, self.votes = limit, votes or {}
        self.prompts = [task.resolve() for task in tasks]
        shared: dict[tuple[str, float], dict[int, RewardConfig]] = {}
        for place, task in enumerate(tasks):
            for part in task.parts:
                shared.setdefault((part.name, part.weight), {})[place] = part
        names = [name for name, _ in shared]
        self.functions: list[Any] = [
            PartReward(
                # One name with two weights is two parts of a training; `advice` knows *0.
                name if names.count(name) == 1 and weight else f"{name}*{weight:g}",
                parts,
                self,
                first=not row,
            )
            for row, ((name, weight), parts) in enumerate(shared.items())
        ]
        self.weights = [weight for _, weight in shared]

    def completion(self, text: str, tokens: Sequence[int], place: int) -> Completion:
        """What a part's function is given."""
        example = self.drawn[place]
        prompt = self.prompts[example.task]
        text = whole(text, prompt, self.opening)
        return Completion(
            text, tokens, _parsed(text, prompt), example, prompt, self.tasks[example.task],
            self.limit,
        )  # fmt: skip

    def single(
        self, parts: Mapping[int, RewardConfig], own: list[Completion]
    ) -> list[float | None]:
        """A part that looks at one text, of the texts whose task has it."""
        functions = {place: find_reward(part).function for place, part in parts.items()}
        found: list[float | None] = []
        for each in own:
            part = parts.get(each.example.task)
            value = functions[each.example.task](each, **part.options) if part else None
            if value is not None and not (isinstance(value, int | float) and isfinite(value)):
                name = part.name if part else ""
                raise InputError(f"rewards: {name} gave {value!r}; expected a number, or None.")
            found.append(value)
        return found

    def ranked(
        self, parts: Mapping[int, RewardConfig], own: list[Completion], place: Sequence[int]
    ) -> list[float | None]:
        """A part that compares pictures, in lockstep on all processes, as it gathers from them."""
        from accelerate import PartialState
        from accelerate.utils import gather_object

        rows = [row for row, each in enumerate(own) if each.example.task in parts]
        mine = [
            Prediction(
                task=own[row].example.task,
                dataset=own[row].example.dataset,
                image=str(own[row].example.images[0]),
                mos=_known(own[row].example.score),
                score=_value(own[row].answer),
                block=place[row] // self.compare if self.compare else 0,
                std=_known(own[row].example.std),
            )
            for row in rows
        ]
        if self.pair_scope == "global":
            rank = PartialState().process_index
            everyone = gather_object([(rank, prediction) for prediction in mine])
            rewards = ranked_rewards([p for _, p in everyone], self.tasks, parts, self.votes)
            rewards = [r for (of, _), r in zip(everyone, rewards, strict=True) if of == rank]
        else:
            rewards = ranked_rewards(mine, self.tasks, parts, self.votes)
        found: list[float | None] = [None] * len(own)
        for row, reward in zip(rows, rewards, strict=True):
            found[row] = reward
        return found


class PartReward:
    """One part of the reward, over all tasks that have it; TRL logs it under its `__name__`.

    Args:
        parts: {task: the part}. first: whether it also logs what belongs to no part.
    """

    def __init__(
        self, name: str, parts: Mapping[int, RewardConfig], of: Rewards, *, first: bool
    ) -> None:
        self.__name__, self.parts, self.of, self.first = name, parts, of, first
        self.compares = any(find_reward(part).ranked for part in parts.values())

    def __call__(
        self,
        completions: Sequence[Any],
        place: Sequence[int],
        completion_ids: Sequence[Sequence[int]] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **_: Any,
    ) -> list[float | None]:
        """The part's value of each completion, without its weight.

        Args:
            log_metric: TRL's; called with each task's mean value, and by the first part with each
                data set's mean spread of scores (VisualQuality-R1, Fig. 3) and each task's share
                of parsed answers.
        """
        tokens = completion_ids or [()] * len(completions)
        own = [
            self.of.completion(_text(completion), ids, index)
            for completion, ids, index in zip(completions, tokens, place, strict=True)
        ]
        if self.compares:
            found = self.of.ranked(self.parts, own, place)
        else:
            found = self.of.single(self.parts, own)
        if log_metric:
            logged = _by_task(own, found, f"reward/{{}}/{self.__name__}")
            for name, value in (logged | (_shared(own) if self.first else {})).items():
                log_metric(name, value)
        return found


def _by_task(own: list[Completion], values: Sequence[Any], name: str) -> dict[str, float]:
    """The mean value of each task's completions; `name` has braces for the prompt's."""
    found: dict[str, list[float]] = {}
    for each, value in zip(own, values, strict=True):
        if value is not None:
            found.setdefault(name.format(each.prompt.name), []).append(float(value))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _shared(own: list[Completion]) -> dict[str, float]:
    scores: dict[tuple[str, tuple[Path, ...]], list[float]] = {}
    for each in own:
        if isinstance(each.answer, Score):
            key = each.example.dataset, each.example.images
            scores.setdefault(key, []).append(each.answer.value)
    spreads: dict[str, list[float]] = {}
    for (dataset, _), values in scores.items():
        if len(values) > 1:
            spreads.setdefault(f"spread/{dataset}", []).append(float(np.std(values, ddof=1)))
    parsed = [not isinstance(each.answer, Failure) for each in own]
    means = {name: float(np.mean(values)) for name, values in spreads.items()}
    return means | _by_task(own, parsed, "parsed/{}")


@lru_cache(maxsize=4096)  # each part reads the same texts
def _parsed(text: str, prompt: Prompt) -> Answer:
    return parse(text, prompt)


def _known(value: float | None) -> float:
    return float("nan") if value is None else value


def _value(answer: Answer) -> float:
    return answer.value if isinstance(answer, Score) else float("nan")


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else completion[0]["content"]
