"""The questions that a teacher learned to answer: noted in its folder, so that they travel with it.

In: the prompts of a training, and the model that it started from. Out: `rali_prompts.json` beside
the weights, the first prompt of each task, which the teacher is asked where no other is given.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rali.errors import InputError
from rali.files import read_json

from .prompts import PROMPTS, Prompt, TaskName
from .questions import find_prompt, spelling_of

LEARNED = "rali_prompts.json"
Spelling = str | dict[str, Any]


def learned(model: str, prompts: Iterable[Prompt]) -> dict[TaskName, Spelling]:
    """{task: how a run would note its prompt}, for a training under these prompts.

    Of several prompts for a task the first counts. For a task that is not trained, it is what the
    model had learned before. The texts of a prompt of rali's are read by its own rules, whatever
    `reading` the rewards took; a question of your own keeps its `answer`.

    Args:
        model: what the training starts from.
    """
    found: dict[TaskName, Spelling] = {}
    for prompt in prompts:
        if prompt.task not in found:
            packaged = prompt.name.removesuffix(f"-{len(prompt.classes)}") in PROMPTS
            found[prompt.task] = spelling_of(replace(prompt, reading="") if packaged else prompt)
    return noted(model) | found


def note_prompts(prompts: dict[TaskName, Spelling], folder: Path) -> None:
    """Write what `learned` returns beside a teacher's weights."""
    if prompts:
        text = json.dumps(prompts, indent=2, ensure_ascii=False) + "\n"
        (folder / LEARNED).write_text(text, "utf-8")


def noted(model: str) -> dict[TaskName, Spelling]:
    """The prompts that a teacher's folder names; none for "nano", a Hub id or a folder without.

    Raises:
        InputError: the file is damaged.
    """
    file = Path(model) / LEARNED
    if model == "nano" or not file.is_file():
        return {}
    advice = "Copy the teacher's folder again, or delete this file and give --prompt."
    found: dict[TaskName, Spelling] = {}
    for task, spelling in read_json(file, advice).items():
        try:
            prompt = find_prompt(spelling)
        except InputError as error:
            raise InputError(f"{file} is damaged: {error} {advice}") from error
        if prompt.task != task:
            raise InputError(
                f"{file} is damaged: {prompt.name} asks for no {task}, but a {prompt.task}. "
                f"{advice}"
            )
        found[prompt.task] = spelling
    return found
