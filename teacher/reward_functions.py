"""The rewards of a training as TRL calls them: on one process's completions, in lockstep.

In: completions and the places of their examples. Out: one reward each, or None where a picture has
nothing to be compared with. Rewards that compare pictures gather the scores of all processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .answers import Answer, Failure, Score
from .completions import format_reward, parse, whole
from .rl2r import rl2r_rewards
from .tasks import TASKS, Example, TaskConfig


@dataclass(frozen=True)
class Prediction:
    """One completion's score, with what RL2R needs to compare it; see `ranked_rewards`."""

    task: int
    dataset: str
    image: str
    mos: float
    score: float
    block: int = 0


def ranked_rewards(
    predictions: Sequence[Prediction], tasks: Sequence[TaskConfig]
) -> list[float | None]:
    """RL2R's reward of every completion; None for a picture that has no partner.

    Completions of one picture may stand anywhere in the list. Pictures are compared within one task
    and data set.
    """
    rows: dict[tuple[int, str, str, int], list[int]] = {}
    for index, prediction in enumerate(predictions):
        key = (prediction.task, prediction.dataset, prediction.image, prediction.block)
        rows.setdefault(key, []).append(index)
    found: list[float | None] = [None] * len(predictions)
    for place, task in enumerate(tasks):
        own = [(key, members) for key, members in rows.items() if key[0] == place]
        if not own:
            continue
        scores = np.full((len(own), max(len(members) for _, members in own)), np.nan)
        for row, (_, members) in enumerate(own):
            scores[row, : len(members)] = [predictions[index].score for index in members]
        rewards = rl2r_rewards(
            scores,
            np.array([predictions[members[0]].mos for _, members in own]),
            [f"{key[3]} {key[1]}" for key, _ in own],
            variant=task.variant,  # type: ignore[arg-type]
            eps=task.fidelity_eps,
        )
        for row, (_, members) in enumerate(own):
            for column, index in enumerate(members):
                reward = float(rewards[row, column])
                found[index] = None if np.isnan(reward) else reward
    return found


class Rewards:
    """The reward functions of a training, as TRL calls them: on the completions of one process.

    Beside each completion stands the column `place`: its example's place in `drawn`.

    Args:
        tasks: the training's tasks.
        drawn: the training's examples, in the order of its data set.
        pair_scope: whether RL2R compares over all processes ("global") or within one ("process").
        compare: so many examples that follow each other in `drawn` are compared; 0 takes all.
        opening: what the chat template writes of a completion; see `models.thought_opening`.
    """

    def __init__(
        self,
        tasks: Sequence[TaskConfig],
        drawn: Sequence[Example],
        pair_scope: str = "global",
        compare: int = 0,
        opening: str = "",
    ) -> None:
        self.opening = opening
        self.tasks, self.drawn, self.pair_scope, self.compare = tasks, drawn, pair_scope, compare
        self.prompts = [task.resolve() for task in tasks]

    def format(
        self, completions: Sequence[Any], place: Sequence[int], **_: Any
    ) -> list[float | None]:
        """The format reward times its weight."""
        found: list[float | None] = []
        for completion, index in zip(completions, place, strict=True):
            task = self.tasks[self.drawn[index].task]
            prompt = self.prompts[self.drawn[index].task]
            text = whole(_text(completion), prompt, self.opening)
            reward = format_reward(text, prompt, form=task.format)
            found.append(task.format_weight * reward)
        return found

    def quality(
        self,
        completions: Sequence[Any],
        place: Sequence[int],
        log_metric: Callable[[str, float], None] | None = None,
        **_: Any,
    ) -> list[float | None]:
        """The task's own reward, in lockstep on all processes: RL2R gathers from all of them.

        Args:
            log_metric: TRL's; called with each data set's mean spread of scores (VisualQuality-R1,
                Fig. 3) and each task's mean reward and share of parsed answers.
        """
        from accelerate import PartialState
        from accelerate.utils import gather_object

        answers = [
            parse(whole(_text(completion), prompt, self.opening), prompt)
            for completion, index in zip(completions, place, strict=True)
            for prompt in [self.prompts[self.drawn[index].task]]
        ]
        own = [self.drawn[index] for index in place]
        found = [
            self._single(example, answer) for example, answer in zip(own, answers, strict=True)
        ]
        ranked = [row for row, example in enumerate(own) if self.tasks[example.task].ranked]
        mine = [
            Prediction(
                task=own[row].task,
                dataset=own[row].dataset,
                image=str(own[row].images[0]),
                mos=own[row].score or 0.0,
                score=_value(answers[row]),
                block=place[row] // self.compare if self.compare else 0,
            )
            for row in ranked
        ]
        if self.pair_scope == "global":
            rank = PartialState().process_index
            everyone = gather_object([(rank, prediction) for prediction in mine])
            rewards = ranked_rewards([prediction for _, prediction in everyone], self.tasks)
            rewards = [r for (of, _), r in zip(everyone, rewards, strict=True) if of == rank]
        else:
            rewards = ranked_rewards(mine, self.tasks)
        for row, reward in zip(ranked, rewards, strict=True):
            found[row] = reward
        if log_metric:
            for name, value in self._metrics(own, answers, found).items():
                log_metric(name, value)
        return found

    def _metrics(
        self, own: list[Example], answers: list[Answer], rewards: list[float | None]
    ) -> dict[str, float]:
        scores: dict[tuple[str, tuple[Path, ...]], list[float]] = {}
        tasks: dict[str, list[tuple[float | None, bool]]] = {}
        for example, answer, reward in zip(own, answers, rewards, strict=True):
            if isinstance(answer, Score):
                scores.setdefault((example.dataset, example.images), []).append(answer.value)
            parsed = not isinstance(answer, Failure)
            tasks.setdefault(self.prompts[example.task].name, []).append((reward, parsed))
        found: dict[str, list[float]] = {}
        for (dataset, _), values in scores.items():
            if len(values) > 1:
                found.setdefault(f"spread/{dataset}", []).append(float(np.std(values, ddof=1)))
        for name, rows in tasks.items():
            found[f"reward/{name}"] = [reward for reward, _ in rows if reward is not None]
            found[f"parsed/{name}"] = [float(parsed) for _, parsed in rows]
        return {name: float(np.mean(values)) for name, values in found.items() if values}

    def _single(self, example: Example, answer: Answer) -> float | None:
        """The reward of an answer by itself; None where RL2R compares it with others."""
        task, reward = self.tasks[example.task], TASKS[self.prompts[example.task].task].reward
        return None if task.ranked or reward is None else reward(answer, example, task)


def _value(answer: Answer) -> float:
    return answer.value if isinstance(answer, Score) else float("nan")


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else completion[0]["content"]
