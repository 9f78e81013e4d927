"""Whose run a folder is: a training's settings and examples, noted in it; another is refused.

In: settings and examples. Out: `config.yaml`, `examples.json` and `meanings.json` in the folder, or
an error that names what differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rali.errors import InputError
from rali.pictures.inside import is_there
from rali.runs.folder import claim, fingerprint

from .meanings import claim_meanings
from .questions import find_prompt

if TYPE_CHECKING:
    from .training import TrainingConfig

# Settings that do not change the outcome.
FREE = ("report_to", "log_every", "save_every", "watch", "gpus", "attn_implementation")
EXAMPLES = "examples.json"
EXACT = ("options",)  # of a reward: their names are not fields that an older version lacks


def claim_run(config: TrainingConfig, examples: Sequence[Any], output: Path) -> None:
    """Note a training's settings and examples in its folder; refuse a folder of another training.

    Args:
        examples: dataclasses, in the order in which they are drawn. Pictures count by name, so
            that a data folder may move.

    Raises:
        InputError: the folder holds other settings, which are named, or other examples; or a
            training that is not finished, and began with a version in which a name in its settings
            meant another thing.
    """
    from accelerate import PartialState

    main = PartialState().is_main_process
    values = asdict(config)
    settings = partial(
        claim,
        output / "config.yaml",
        values,
        lambda other: (
            f"{output} holds a training with other settings ({', '.join(other)}); give another "
            "folder, or the same settings to resume it."
        ),
        same=lambda before, now: before == now if now is values["trl"] else _same(before, now),
        free=FREE,
    )
    settings(write=False)  # a folder of other examples stays as it is
    if not finished(output):
        claim_meanings(config, output, write=False)
    claim(
        output / EXAMPLES,
        {"count": len(examples), "fingerprint": fingerprint([_mark(e) for e in examples])},
        lambda _: (
            f"{output} holds a training on other examples: its manifests, its triplets or its "
            "prompts' words have changed since. Give another folder."
        ),
        write=main,
    )
    if not finished(output):
        claim_meanings(config, output, write=main)
    settings(write=main)


def finished(output: Path) -> bool:
    """Whether there is `output/model`, which gets this name when it is complete."""
    return (output / "model").is_dir()


def check_pictures(paths: Iterable[Path]) -> None:
    """Raise an InputError if pictures are missing or empty, before hours of training are lost."""
    pictures = sorted(set(paths))
    bad = [path for path in pictures if not is_there(path) or _is_empty(path)]
    if bad:
        raise InputError(
            f"{len(bad)} of {len(pictures)} pictures are missing or empty, such as {bad[0]}."
        )


def _is_empty(path: Path) -> bool:
    return path.is_file() and not path.stat().st_size


def _mark(example: Any) -> dict[str, Any]:
    values = asdict(example)
    if values.get("std", 0) is None:  # an older version wrote none
        del values["std"]
    if not values.get("prompt", {}).get("reading", True):  # nor this
        del values["prompt"]["reading"]
    return values | {"images": [path.name for path in values["images"]]}


def _same(before: Any, value: Any) -> bool:
    """Whether a noted setting agrees with a new one; fields that only one of them has do not count.

    Nor do paths of manifests and triplets: the examples' fingerprint depends on their contents.
    """
    if isinstance(value, dict) and isinstance(before, dict):
        shared = (before.keys() & value.keys()) - {"manifests", "triplets"}
        return all(
            before[key] == value[key]
            if key in EXACT
            else (_same_prompt if key == "prompt" else _same)(before[key], value[key])
            for key in shared
        )
    if isinstance(value, list | tuple) and isinstance(before, list):
        return len(before) == len(value) and all(map(_same, before, value))
    return bool(before == value)


def _same_prompt(before: Any, value: Any) -> bool:
    """Whether two spellings of a prompt are one question: an older version noted fewer settings."""
    try:
        return bool(before == value) or find_prompt(before) == find_prompt(value)
    except InputError:  # a file that is gone, or a setting that this version does not know
        return False
