"""The fields of TRL's configs and the values that it and transformers know, read from their source.

Importing them would take half a minute.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rali.errors import InputError, MissingExtraError, missing_extra
from rali.runs.config import check_type

# Where each class stands, and then the classes that it extends.
SOURCES = {
    "GRPOConfig": "trl/trainer/grpo_config.py",
    "SFTConfig": "trl/trainer/sft_config.py",
    "_BaseConfig": "trl/trainer/base_config.py",
    "TrainingArguments": "transformers/training_args.py",
}
# Texts of which a trainer knows some: those that its source compares them with.
CHOSEN = ("loss_type", "importance_sampling_level", "multi_objective_aggregation", "scale_rewards")
TRAINERS = {
    "GRPOConfig": ["trl/trainer/grpo_config.py", "trl/trainer/grpo_trainer.py"],
    "SFTConfig": ["trl/trainer/sft_config.py", "trl/trainer/sft_trainer.py"],
}
ENUMS = {
    "OptimizerNames": "transformers/training_args.py",
    "IntervalStrategy": "transformers/trainer_utils.py",
    "SchedulerType": "transformers/trainer_utils.py",
    "SaveStrategy": "transformers/trainer_utils.py",
}
# Values of these are checked; a field that also takes another class is TRL's to check.
PLAIN = {"bool": bool, "int": int, "float": float, "str": str, "None": type(None)}
MORE = {"fsdp": ["bool"]}  # what a field takes beside its annotation


@lru_cache
def trl_fields(kind: str) -> dict[str, str]:
    """Name → annotation of the fields of "GRPOConfig" or "SFTConfig", the class's own first.

    Raises:
        MissingExtraError: TRL is not installed.
    """
    found: dict[str, str] = {}
    for each in (kind, "_BaseConfig", "TrainingArguments"):
        found = dict(_own(each)) | found
    return found


@lru_cache
def trl_defaults(kind: str) -> dict[str, Any]:
    """Name → default of those fields whose source spells it; the class's own first.

    Raises:
        MissingExtraError: TRL is not installed.
    """
    found: dict[str, Any] = {}
    for each in ("TrainingArguments", "_BaseConfig", kind):
        for node in _class(each, SOURCES[each]):
            if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
                continue
            spelt = node.value
            if isinstance(spelt, ast.Call):  # field(default=…)
                spelt = next((word.value for word in spelt.keywords if word.arg == "default"), None)
            found.pop(node.target.id, None)
            if spelt:
                with suppress(ValueError):
                    found[node.target.id] = ast.literal_eval(spelt)
    return found


def _own(kind: str) -> Iterator[tuple[str, str]]:
    for node in _class(kind, SOURCES[kind]):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, ast.unparse(node.annotation)


@lru_cache
def _source(path: str) -> ast.Module:
    """A file of an installed package; empty where this version of it has no such file."""
    package, _, inside = path.partition("/")
    spec = find_spec(package)
    if spec is None or not spec.origin:
        raise MissingExtraError(missing_extra(package, "teach"))
    file = Path(spec.origin).parent / inside
    return ast.parse(file.read_text("utf-8") if file.is_file() else "")


def _class(name: str, path: str) -> list[ast.stmt]:
    """The body of a class; empty where the source has none of this name."""
    classes = (node for node in _source(path).body if isinstance(node, ast.ClassDef))
    return next((node.body for node in classes if node.name == name), [])


def check_trl(kind: str, values: Mapping[str, Any]) -> None:
    """Refuse fields that TRL's config of this kind does not have, and values that it cannot take.

    Raises:
        InputError: it names the nearest field or value that there is, or the type.
    """
    known = trl_fields(kind) if values else {}
    for name, value in values.items():
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise InputError(f"trl.{name}: {kind} of TRL has no such field{hint}")
        kinds = known[name].split(" | ") + MORE.get(name, [])
        if all(each in PLAIN for each in kinds):
            check_type(f"trl.{name}", value, [PLAIN[each] for each in kinds])
        if isinstance(value, str):
            choices = _compared(kind, name) if name in CHOSEN else _enumerated(kinds)
            check_choice(f"trl.{name}", value, choices)


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Refuse a value that is none of the choices; without any, nothing is known of it.

    Raises:
        InputError: it names the nearest choice, or all.
    """
    choices = sorted(choices)
    if choices and value not in choices:
        near = get_close_matches(value, choices, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(choices)}."
        raise InputError(f"{name} is {value!r}; {hint}")


def keys_of(path: str, name: str, among: str = "") -> list[str]:
    """The texts that are keys of a dictionary of this name, one with the key `among`."""
    for node in ast.walk(_source(path)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            keys = list(_texts(node.value.keys))
            named = any(isinstance(each, ast.Name) and each.id == name for each in node.targets)
            if named and (not among or among in keys):
                return keys
    return []


def _compared(kind: str, field: str) -> set[str]:
    """The texts that a trainer's source compares a field with."""
    nodes = (node for path in TRAINERS[kind] for node in ast.walk(_source(path)))
    return {
        text
        for node in nodes
        if isinstance(node, ast.Compare)
        and isinstance(node.left, ast.Attribute)
        and node.left.attr == field
        for text in _texts(ast.walk(node))
    }


def _enumerated(kinds: Iterable[str]) -> set[str]:
    """The texts of an annotation's enumeration."""
    bodies = (_class(kind, ENUMS[kind]) for kind in kinds if kind in ENUMS)
    values = (node.value for body in bodies for node in body if isinstance(node, ast.Assign))
    return set(_texts(values))


def _texts(nodes: Iterable[ast.AST | None]) -> Iterator[str]:
    """The texts among some nodes."""
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
