"""The questions that a teacher learned to answer: noted in its folder, so that they travel with it.

In: the prompts of a training, and the model that it started from. Out: `rali_prompts.json` beside
the weights, the first prompt of each task, which the teacher is asked where no other is given. A
task that a published teacher had learned before is noted by its name: `{"as": "OWNER/NAME"}`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from rali.errors import HubError, InputError
from rali.files import read_json
from rali.scoring.hub import download

from .authors import AUTHORS, published
from .prompts import PROMPTS, Prompt, TaskName
from .questions import find_prompt, spelling_of

LEARNED = "rali_prompts.json"
AS = "as"  # in place of a prompt's settings: the published teacher whose authors' way is kept
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
    return learned_before(model) | found


def learned_before(model: str) -> dict[TaskName, Spelling]:
    """What a model had learned: as its folder notes it, or as its authors ask it, by their name."""
    name = published(model)
    authors: dict[TaskName, Spelling] = {task: {AS: name} for task in AUTHORS.get(name, {})}
    return authors | noted(model)


def note_prompts(prompts: dict[TaskName, Spelling], folder: Path) -> None:
    """Write what `learned` returns beside a teacher's weights."""
    if prompts:
        text = json.dumps(prompts, indent=2, ensure_ascii=False) + "\n"
        (folder / LEARNED).write_text(text, "utf-8")


def noted(model: str, *, served: bool = False) -> dict[TaskName, Spelling]:
    """What a teacher notes of its prompts, in its folder or in its repository on the Hub.

    Args:
        served: the name is a server's, and nothing of that name is looked for on the Hub.

    Raises:
        InputError: the file is damaged.
    """
    file = Path(model) / LEARNED
    if not Path(model).is_dir() and not served and not published(model):
        file = _of_hub(model) or file
    if model == "nano" or not file.is_file():
        return {}
    advice = "Copy the teacher's folder again, or delete this file and give --prompt."
    found: dict[TaskName, Spelling] = {}
    for task, spelling in read_json(file, advice).items():
        try:
            prompt = _as_authors(spelling, task) or find_prompt(spelling)
        except InputError as error:
            raise InputError(f"{file} is damaged: {error} {advice}") from error
        if prompt.task != task:
            raise InputError(
                f"{file} is damaged: {prompt.name} asks for no {task}, but a {prompt.task}. "
                f"{advice}"
            )
        found[prompt.task] = spelling
    return found


@cache
def _of_hub(model: str) -> Path | None:
    """The newest note in a repository on the Hub, or in a folder of it; None where it has none.

    Where the Hub does not say, a warning says that none is assumed.
    """
    parts = model.split("/", 2)
    if len(parts) < 2 or not all(parts) or Path(parts[0]).exists():
        return None
    try:
        return download("/".join(parts[:2]), "/".join([*parts[2:], LEARNED]))
    except HubError as error:
        warnings.warn(
            f"{model} is taken for a teacher that notes no questions of its own, as it is not "
            f"known whether it has {LEARNED}; if it was trained under one, give --prompt. {error}",
            stacklevel=2,
        )
    except InputError:
        pass
    return None


def _as_authors(spelling: Any, task: str) -> Prompt | None:
    """The prompt of a published teacher's authors, where a note says that it is asked like it."""
    if not isinstance(spelling, dict) or AS not in spelling:
        return None
    for own, how in AUTHORS.get(str(spelling[AS]), {}).items():
        if own == task:
            return how.find_prompt()
    raise InputError(f"nothing is known of how {spelling[AS]} is asked for a {task}.")
