"""What the names in a training's settings mean, noted so that none means another thing midway.

In: settings. Out: the words that are asked, the form that is rewarded, where an answer is looked
for and how vLLM's texts are weighed; or an error that says which are another version's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rali.errors import InputError
from rali.runs.folder import claim, read_claim

from .completions import format_pattern
from .readings import READINGS
from .vllm_rollouts import vllm_ratio
from .votes import is_voted

MEANINGS = "meanings.json"
_CHANGES = {
    "prompt": "has other words",
    "format": "wants another form",
    "answer": "is found in another way",
    "use_vllm": "weighs texts in another way",
}
# Names with another meaning since before meanings were noted: "Picture 1: ", and exact formats.
_WORDS = ("visualquality-r1/released", "visualquality-r1/fast")
_FORMS = ("visualquality-r1", "q-insight")


def meanings(config: Any) -> dict[str, Any]:
    """{setting and its value: what it means}, for a training by rewards; nothing for another."""
    found: dict[str, Any] = {}
    tasks = getattr(config, "tasks", ())
    for place, task in enumerate(tasks):
        prompt, form = task.resolve(), format_pattern(task.format)
        found[f"tasks.{place}.prompt {prompt.name}"] = prompt.messages()
        if form:
            found[f"tasks.{place}.format {task.format}"] = form.pattern
        if prompt.reading:
            found[f"tasks.{place}.answer {prompt.reading}"] = asdict(READINGS[prompt.reading])
    if any(map(is_voted, tasks)):
        prompt = config.votes.resolve()
        found[f"votes.prompt {prompt.name}"] = prompt.messages()
    if tasks and config.trl.get("use_vllm"):
        found["trl.use_vllm"] = vllm_ratio(config.trl, top_k=config.top_k, top_p=config.top_p)
    return found


def claim_meanings(config: Any, output: Path, *, write: bool) -> None:
    """Note in a training's folder what its names mean; refuse one where they meant another thing.

    Args:
        write: False only compares.

    Raises:
        InputError: it says which names have changed.
    """
    now, settings = meanings(config), read_claim(output / "config.yaml")
    if not now:
        return
    if settings and not (output / MEANINGS).is_file() and (other := [*_renewed(config, settings)]):
        raise InputError(_refusal(output, other))
    claim(output / MEANINGS, now, lambda other: _refusal(output, other), write=write)


def _refusal(output: Path, names: Iterable[str]) -> str:
    said = [f"{name} {_CHANGES[name.split()[0].rpartition('.')[2]]}" for name in names]
    return (
        f"{output} holds a training that another version of rali began, since when "
        f"{' and '.join(said)}; give another folder, or resume it with that version."
    )


def _renewed(config: Any, noted: Mapping[str, Any]) -> Iterator[str]:
    """The names that may have meant another thing in a run that noted no meanings.

    Args:
        noted: its settings, as it noted them.
    """
    now = meanings(config)
    yield from (name for name in now if name.partition("prompt ")[2] in _WORDS)
    for place, (task, before) in enumerate(zip(config.tasks, noted.get("tasks", ()), strict=False)):
        if "answer" in before:  # which came after the formats
            continue
        if task.format in _FORMS:
            yield f"tasks.{place}.format {task.format}"
        if task.answer != "paper":
            yield f"tasks.{place}.answer {task.answer}"
    ratio, setting = now.get("trl.use_vllm"), "vllm_importance_sampling_correction"
    if ratio and not ratio[setting] and setting not in config.trl:
        yield "trl.use_vllm"
