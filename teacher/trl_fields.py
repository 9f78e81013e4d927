"""The fields of TRL's configs, read from their source: importing TRL would take half a minute."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rali.errors import InputError, MissingExtraError, missing_extra

# Where each class stands, and then the classes that it extends.
SOURCES = {
    "GRPOConfig": "trl/trainer/grpo_config.py",
    "SFTConfig": "trl/trainer/sft_config.py",
    "_BaseConfig": "trl/trainer/base_config.py",
    "TrainingArguments": "transformers/training_args.py",
}


# Values of these are checked; a field that also takes another class is TRL's to check.
PLAIN: dict[str, Any] = {
    "bool": bool,
    "int": int,
    "float": (int, float),
    "str": str,
    "None": type(None),
}


def trl_fields(kind: str) -> dict[str, str]:
    """Name → annotation of the fields of "GRPOConfig" or "SFTConfig", the class's own first.

    Raises:
        MissingExtraError: TRL is not installed.
    """
    found: dict[str, str] = {}
    for each in (kind, "_BaseConfig", "TrainingArguments"):
        found = dict(_own(each)) | found
    return found


def _own(kind: str) -> Iterator[tuple[str, str]]:
    package, _, inside = SOURCES[kind].partition("/")
    spec = find_spec(package)
    if spec is None or not spec.origin:
        raise MissingExtraError(missing_extra(package, "teach"))
    tree = ast.parse((Path(spec.origin).parent / inside).read_text("utf-8"))
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    for found in (node for node in classes if node.name == kind):
        for node in found.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield node.target.id, ast.unparse(node.annotation)


def check_trl(kind: str, values: Mapping[str, Any]) -> None:
    """Refuse fields that TRL's config of this kind does not have, and values of another type.

    Raises:
        InputError: it names the nearest field that there is, or the type.
    """
    known = trl_fields(kind) if values else {}
    for name, value in values.items():
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise InputError(f"trl.{name}: {kind} of TRL has no such field{hint}")
        check_type(f"trl.{name}", value, known[name].split(" | "))


def check_type(name: str, value: Any, kinds: Sequence[str]) -> None:
    """Refuse a value of none of these types, where all are in `PLAIN`.

    Raises:
        InputError: it names the types.
    """
    truth = isinstance(value, bool) and "bool" not in kinds  # Python counts it as an integer
    if all(each in PLAIN for each in kinds) and (
        truth or not any(isinstance(value, PLAIN[each]) for each in kinds)
    ):
        words = " or ".join("nothing" if each == "None" else each for each in kinds)
        raise InputError(f"{name} is {value!r}; expected {words}.")
