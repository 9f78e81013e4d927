"""What a teacher can be asked for: one table of tasks, and the settings by which one is trained.

`TASKS` says for each task how an answer is read and written, which truth a manifest must hold for
it, and which rewards fit it. `Prompt.task` names the entry. A score stays on the manifest's scale,
1–5; a prompt of another range has it rescaled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rali.data.manifest import PairRow, Row, read_manifest, read_pairs
from rali.errors import InputError
from rali.pictures.degrade import canonical
from rali.runs.config import check_numbers

from .answers import (
    Answer,
    Comparison,
    Degradation,
    Description,
    Score,
    read_comparison,
    read_degradation,
    read_description,
    read_score,
    write_comparison,
    write_degradation,
    write_description,
    write_score,
)
from .prompts import Prompt, TaskName, with_classes
from .questions import answered, find_prompt, spelt_out
from .rl2r import VARIANTS

TEXT_REWARDS = ("format", "repetition", "overlong")  # for any task; those of a task are in `TASKS`


@dataclass
class RewardConfig:
    """One part of a task's reward.

    Attributes:
        name: a reward that fits the task, "format", "repetition" or "overlong"; or a function of
            your own as `module:function`; see `rewards`.
        weight: what its value is multiplied with before the parts are added.
        options: the function's settings, such as `{sigma: 0.3}` for "gaussian".
    """

    name: str = ""
    weight: float = 1.0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class TaskConfig:
    """One task of a training.

    Attributes:
        manifests: files of labelled pictures; for a comparison, of pairs.
        prompt: the name of a prompt of the papers; or a question of your own (aesthetics, age, …),
            as settings here or in a YAML file; see `questions.Question`.
        classes: for degradation, the classes to tell apart, in place of those that the prompt
            lists; its other words stay. Empty keeps the prompt's, Q-Insight's four.
        reward: for a score, the reward beside the format's: "rl2r" (VisualQuality-R1), "threshold"
            (Q-Insight), or another of `TASKS`.
        rewards: all parts of the reward with their weights, in place of reward and format_weight.
        variant: RL2R's "fidelity", or one of the ablation: "binary", "probability_average",
            "fixed_variance".
        fidelity_eps: ε in the roots of RL2R's Eq. 3.
        threshold: Q-Insight's ε, on the prompt's scale.
        class_weight, level_weight: Q-Insight's α₁ and α₂.
        format_weight: weight of the format reward beside the task's.
        format: the form that the format reward wants: "paper", "strict", "visualquality-r1",
            "q-insight" or "q-insight-compare" (their code's), or a pattern; see
            `completions.format_reward`.
        answer: how the answer is found in a completion: "paper" as the prompt says and rali reads
            it, "visualquality-r1" or "q-insight" as their code finds it, or a regular expression
            with one group; see `questions.answered`.
        count: at most this many examples of each manifest, drawn once; 0 takes all.
    """

    manifests: list[str] = field(default_factory=list)
    prompt: str | dict[str, Any] = "visualquality-r1/score"
    classes: list[str] = field(default_factory=list)
    reward: str = "rl2r"
    rewards: list[RewardConfig] = field(default_factory=list)
    variant: str = "fidelity"
    fidelity_eps: float = 1e-6
    threshold: float = 0.35
    class_weight: float = 0.25
    level_weight: float = 0.75
    format_weight: float = 1.0
    format: str = "paper"
    answer: str = "paper"
    count: int = 0

    def __post_init__(self) -> None:
        self.prompt = spelt_out(self.prompt)
        if self.variant not in VARIANTS:
            raise InputError(f"variant is {self.variant!r}; there are {', '.join(VARIANTS)}.")
        check_numbers("", self, fidelity_eps=0, format_weight=0, count=0, positive=["threshold"])
        prompt = self.resolve()
        if prompt.answer == "levels":
            raise InputError(
                f"{prompt.name}: a judge writes no completions that could be rewarded; give a "
                "prompt that asks for an answer."
            )
        fitting = TASKS[prompt.task].rewards
        if not fitting:
            raise InputError(
                f"{prompt.name}: no reward tells a good description from a bad one; `rali teach "
                "sft` learns them."
            )
        if self.reward not in (*fitting, TaskConfig.reward):  # the default is a score's
            raise InputError(
                f"reward is {self.reward!r}; for {prompt.name} there are {', '.join(fitting)}."
            )
        if self.rewards and (self.reward != "rl2r" or self.format_weight != 1):
            raise InputError("Give rewards, or reward and format_weight, not both.")
        names = [part.name for part in self.parts]
        for part in self.parts:
            check_numbers(f"rewards.{part.name}.", part, weight=0)
            if ":" not in part.name and part.name not in (*fitting, *TEXT_REWARDS):
                raise InputError(
                    f"rewards: {part.name!r} is no reward of {prompt.name}; there are "
                    f"{', '.join((*fitting, *TEXT_REWARDS))}, or module:function for your own."
                )
            if names.count(part.name) > 1:
                raise InputError(f"rewards: {part.name} stands there twice; add the weights.")

        if not any(part.weight for part in self.parts):
            raise InputError("The weights of all rewards are 0, so nothing would be learned.")

    @property
    def parts(self) -> list[RewardConfig]:
        """The parts of the reward; by default the format's and the task's own."""
        if self.rewards:
            return self.rewards
        fitting = TASKS[self.resolve().task].rewards
        own = self.reward if self.reward in fitting else fitting[0]
        return [RewardConfig("format", self.format_weight), RewardConfig(own)]

    def resolve(self) -> Prompt:
        """The prompt that these settings ask for."""
        prompt = find_prompt(self.prompt)
        prompt = with_classes(prompt, self.classes) if self.classes else prompt
        return prompt if self.answer == "paper" else answered(prompt, self.answer)


@dataclass(frozen=True)
class Example:
    """One prompt with its pictures, and the truth about them.

    Attributes:
        task: the task's place in the config.
        images: absolute paths, as many as the prompt shows and in its order.
        dataset: answers are compared only inside one data set.
        score: on the prompt's scale; None where no reward needs one.
        std: deviation of the ratings, on the prompt's scale; None where no reward needs one.
        distortion, severity: canonical name and 0–5.
        result: `A`, `B` or `similar`.
    """

    task: int
    images: tuple[Path, ...]
    dataset: str
    score: float | None = None
    std: float | None = None
    distortion: str = ""
    severity: int = 0
    result: str = ""


@dataclass(frozen=True)
class TeacherTask:
    """How one task's answers are read and written, and which rewards fit them.

    Attributes:
        answer: their type.
        read: the content of the answer tags, the prompt and the reasoning to an answer.
        write: the prompt and the truth to the content of a perfect answer.
        rows: reads a manifest.
        label: a row's pictures and truth as fields of `Example`; None for a row that cannot be one.
        needs: the truth that a row must hold, for the error; its braces name a prompt's fields.
        rewards: names in `rewards.REWARDS` that fit its answers, the default first.
        keys: of a JSON answer.
        as_triplets: whether a triplet holds its answers, so that they are harvested and learned.
    """

    answer: type[Answer]
    read: Callable[[str, Prompt, str], Answer]
    write: Callable[..., str]
    rows: Callable[[str], Sequence[Any]]
    label: Callable[[Any, Prompt], dict[str, Any] | None]
    needs: str
    rewards: tuple[str, ...] = ()
    keys: frozenset[str] = frozenset()
    as_triplets: bool = False


def _score_of(row: Row, prompt: Prompt) -> dict[str, Any]:
    score = None if row.score is None else rescale(row.score, prompt)
    std = None if row.std is None else row.std * (prompt.high - prompt.low) / 4
    return {"images": (row.image,), "score": score, "std": std}


def _degradation_of(row: Row, prompt: Prompt) -> dict[str, Any] | None:
    try:
        name, severity = canonical(row.distortion), row.severity
    except InputError:  # a class of another data set
        return None
    if name == "null" or severity == 0:
        name, severity = "null", 0
    if severity is None or name not in (*prompt.classes, "null"):
        return None
    return {"images": (row.image,), "distortion": name, "severity": severity}


def _comparison_of(pair: PairRow, prompt: Prompt) -> dict[str, Any] | None:
    pictures = {"image_a": pair.image_a, "image_b": pair.image_b}
    if pair.reference:
        pictures["reference"] = Path(pair.reference)
    if pair.result not in prompt.choices or not set(prompt.images) <= set(pictures):
        return None
    return {"images": tuple(pictures[name] for name in prompt.images), "result": pair.result}


TASKS: dict[TaskName, TeacherTask] = {
    "score": TeacherTask(
        answer=Score,
        read=read_score,
        write=write_score,
        rows=read_manifest,
        label=_score_of,
        needs="a score",
        rewards=("rl2r", "threshold", "gaussian", "rank_score", "soft", "voted"),
        keys=frozenset({"rating"}),
        as_triplets=True,
    ),
    "degradation": TeacherTask(
        answer=Degradation,
        read=read_degradation,
        write=write_degradation,
        rows=read_manifest,
        label=_degradation_of,
        needs="a distortion of {classes} or null",
        rewards=("degradation",),
        keys=frozenset({"distortion_class", "severity"}),
    ),
    "comparison": TeacherTask(
        answer=Comparison,
        read=read_comparison,
        write=write_comparison,
        rows=read_pairs,
        label=_comparison_of,
        needs="a result of {choices}",
        rewards=("comparison",),
    ),
    "description": TeacherTask(
        answer=Description,
        read=read_description,
        write=write_description,
        rows=read_manifest,
        label=_score_of,
        needs="a score",
        as_triplets=True,
    ),
}


def rescale(score: float, prompt: Prompt) -> float:
    """A manifest's score, 1–5, on the prompt's scale."""
    return prompt.low + (score - 1.0) / 4.0 * (prompt.high - prompt.low)


def to_quality(value: float, prompt: Prompt) -> float:
    """A score on the prompt's scale as quality from 1 to 5."""
    return 1.0 + 4.0 * (value - prompt.low) / (prompt.high - prompt.low)
