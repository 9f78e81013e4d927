"""What a teacher is trained on: tasks, and the labelled examples that manifests give them.

In come a task's settings and its manifests (for comparisons: pairs); out come examples, each with
its pictures, its prompt and the label that a reward compares the answer with. A score stays on the
manifest's scale of 1–5; a prompt of another range has it rescaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rali.data.manifest import read_manifest, read_pairs
from rali.errors import InputError
from rali.pictures.degrade import canonical
from rali.runs.config import check_numbers

from .prompts import Prompt, degradation_prompt, find_prompt
from .rl2r import VARIANTS

REWARDS = ("rl2r", "threshold")


@dataclass
class TaskConfig:
    """One task of a training.

    Attributes:
        manifests: files of labelled pictures; for a comparison, of pairs.
        prompt: the name of a prompt of the papers, or a YAML file that asks something else than
            quality (aesthetics, age, …) for a score; see `prompts.find_prompt`.
        classes: for degradation, the classes to tell apart; Q-Insight's four by default.
        reward: for a score, "rl2r" (VisualQuality-R1) or "threshold" (Q-Insight).
        variant: RL2R's: "fidelity", or one of the ablation's "binary", "probability_average",
            "fixed_variance".
        fidelity_eps: ε in Eq. 3's roots.
        threshold: Q-Insight's ε, on the prompt's scale.
        class_weight, level_weight: Q-Insight's α₁ and α₂.
        format_weight: weight of the format reward beside the task's.
        strict_format: see `answers.format_reward`.
        count: so many examples of each manifest, drawn once; 0 takes all.
    """

    manifests: list[str] = field(default_factory=list)
    prompt: str = "visualquality-r1/score"
    classes: list[str] = field(default_factory=list)
    reward: str = "rl2r"
    variant: str = "fidelity"
    fidelity_eps: float = 1e-6
    threshold: float = 0.35
    class_weight: float = 0.25
    level_weight: float = 0.75
    format_weight: float = 1.0
    strict_format: bool = False
    count: int = 0

    def __post_init__(self) -> None:
        if self.reward not in REWARDS:
            raise InputError(f"reward is {self.reward!r}; there are {', '.join(REWARDS)}.")
        if self.variant not in VARIANTS:
            raise InputError(f"variant is {self.variant!r}; there are {', '.join(VARIANTS)}.")
        check_numbers("", self, fidelity_eps=0, format_weight=0, count=0, positive=["threshold"])
        if self.resolve().task == "description":
            raise InputError(
                f"{self.prompt}: no reward tells a good description from a bad one; `rali teach "
                "sft` learns them."
            )

    def resolve(self) -> Prompt:
        """The prompt that these settings ask for."""
        prompt = find_prompt(self.prompt)
        if not self.classes:
            return prompt
        if prompt.task != "degradation":
            raise InputError(f"classes are for q-insight/degradation, not for {prompt.name}.")
        return degradation_prompt(tuple(self.classes))

    @property
    def ranked(self) -> bool:
        """Whether RL2R compares pictures for this task's reward."""
        return self.resolve().task == "score" and self.reward == "rl2r"


@dataclass(frozen=True)
class Example:
    """One prompt with its pictures, and what is known of them.

    Attributes:
        task: the task's place in the config.
        images: absolute paths, as many as the prompt shows and in its order.
        dataset: answers are compared only inside one data set.
        score: on the prompt's scale. distortion, severity: canonical name and 0–5.
        result: `A`, `B` or `similar`.
    """

    task: int
    images: tuple[Path, ...]
    dataset: str
    score: float | None = None
    distortion: str = ""
    severity: int = 0
    result: str = ""


def examples(config: TaskConfig, task: int = 0, split: str = "train") -> list[Example]:
    """The examples of one task's manifests.

    Args:
        split: which part of the manifests; where one has no splits at all, all of it.

    Raises:
        InputError: a manifest that cannot be read, or has nothing that this task can learn from.
    """
    prompt = config.resolve()
    found: list[Example] = []
    for path in config.manifests:
        build = _from_pairs if prompt.task == "comparison" else _from_manifest
        own = build(path, prompt, task, split)
        if not own:
            wanted = {
                "score": "a score",
                "degradation": f"a distortion of {', '.join(prompt.classes)} or null",
                "comparison": f"a result of {', '.join(prompt.choices)}",
            }[prompt.task]
            raise InputError(f"{path} has no row in split {split!r} with {wanted}.")
        if config.count:
            drawn = np.random.default_rng(0).permutation(len(own))[: config.count]
            own = [own[place] for place in sorted(drawn)]
        found += own
    if not found:
        raise InputError(f"the task {prompt.name} has no manifests; give `manifests: [FILE, …]`.")
    return found


def _from_manifest(path: str, prompt: Prompt, task: int, split: str) -> list[Example]:
    rows = of_split(read_manifest(path), split)
    found = []
    for row in rows:
        dataset = row.dataset or Path(path).stem
        if prompt.task == "degradation":
            name, severity = _canonical_or_none(row.distortion), row.severity
            if name == "null" or (name and severity == 0):
                name, severity = "null", 0
            if severity is not None and name in (*prompt.classes, "null"):
                found.append(
                    Example(task, (row.image,), dataset, distortion=name, severity=severity)
                )
        elif row.score is not None:
            found.append(Example(task, (row.image,), dataset, score=rescale(row.score, prompt)))
    return found


def _canonical_or_none(name: str) -> str | None:
    try:
        return canonical(name)
    except InputError:  # a class of another data set
        return None


def _from_pairs(path: str, prompt: Prompt, task: int, split: str) -> list[Example]:
    found = []
    for pair in of_split(read_pairs(path), split):
        pictures = {"image_a": pair.image_a, "image_b": pair.image_b}
        if pair.reference:
            pictures["reference"] = Path(pair.reference)
        if pair.result in prompt.choices and set(prompt.images) <= set(pictures):
            images = tuple(pictures[name] for name in prompt.images)
            found.append(Example(task, images, pair.dataset or Path(path).stem, result=pair.result))
    return found


def of_split(rows: Sequence, split: str) -> list:
    """The rows of a split; all, where there are no splits."""
    return [row for row in rows if row.split == split] if any(r.split for r in rows) else list(rows)


def rescale(score: float, prompt: Prompt) -> float:
    """A manifest's score, 1–5, on the prompt's scale."""
    return prompt.low + (score - 1.0) / 4.0 * (prompt.high - prompt.low)


def to_quality(value: float, prompt: Prompt) -> float:
    """A score on the prompt's scale as quality from 1 to 5."""
    return 1.0 + 4.0 * (value - prompt.low) / (prompt.high - prompt.low)
