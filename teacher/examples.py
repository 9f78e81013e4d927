"""The labelled examples that manifests give a training.

In: a task's settings and its manifests (for comparisons: pairs). Out: examples, each with its
pictures and the truth that a reward compares the answer with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from rali.data.datasets import dataset_names
from rali.errors import InputError

from .rewards import needed
from .tasks import TASKS, Example, TaskConfig


def examples(config: TaskConfig, task: int = 0, split: str = "train") -> list[Example]:
    """The examples of one task's manifests.

    Args:
        task: the task's place in the training's config.
        split: which part of the manifests; a manifest without splits is taken whole.

    Raises:
        InputError: a manifest that cannot be read, or has nothing that this task can learn from.
    """
    prompt = config.resolve()
    kind, needs = TASKS[prompt.task], needed(config)
    read = {path: kind.rows(path) for path in config.manifests}
    names = dataset_names(read)
    found: list[Example] = []
    for path in config.manifests:
        labels = [(row, kind.label(row, prompt)) for row in of_split(read[path], split)]
        own = [
            Example(task=task, dataset=row.dataset or names[path], **label)
            for row, label in labels
            if label and not ("score" in needs and label["score"] is None)
        ]
        if not own:
            wanted = kind.needs.format(
                classes=", ".join(prompt.classes), choices=", ".join(prompt.choices)
            )
            raise InputError(f"{path} has no row in split {split!r} with {wanted}.")
        if "std" not in needs:
            own = [dataclasses.replace(example, std=None) for example in own]
        elif bare := [example for example in own if example.std is None]:
            raise InputError(
                f"{path}: the reward soft needs the column `std`, the standard deviation of each "
                f"picture's ratings; {len(bare)} of {len(own)} pictures have none, such as "
                f"{bare[0].images[0].name}."
            )
        if config.count:
            drawn = np.random.default_rng(0).permutation(len(own))[: config.count]
            own = [own[place] for place in sorted(drawn)]
        found += own
    if not found:
        raise InputError(f"The task {prompt.name} has no manifests; give `manifests: [FILE, …]`.")
    return found


def of_split(rows: Sequence[Any], split: str) -> list[Any]:
    """The rows of a split; all, where there are no splits."""
    return [row for row in rows if row.split == split] if any(r.split for r in rows) else list(rows)
