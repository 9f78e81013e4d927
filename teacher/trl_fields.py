"""The fields of TRL's configs, read from their source: importing TRL would take half a minute."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from rali.errors import InputError, MissingExtraError, missing_extra

# Where each class stands, and then the classes that it extends.
SOURCES = {
    "GRPOConfig": "trl/trainer/grpo_config.py",
    "SFTConfig": "trl/trainer/sft_config.py",
    "_BaseConfig": "trl/trainer/base_config.py",
    "TrainingArguments": "transformers/training_args.py",
}


def trl_fields(kind: str) -> list[str]:
    """The names of the fields of "GRPOConfig" or "SFTConfig", the class's own first.

    Raises:
        MissingExtraError: TRL is not installed.
    """
    return [name for each in (kind, "_BaseConfig", "TrainingArguments") for name in _own(each)]


def _own(kind: str) -> Iterator[str]:
    package, _, inside = SOURCES[kind].partition("/")
    spec = find_spec(package)
    if spec is None or not spec.origin:
        raise MissingExtraError(missing_extra(package, "teach"))
    tree = ast.parse((Path(spec.origin).parent / inside).read_text("utf-8"))
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    for found in (node for node in classes if node.name == kind):
        for node in found.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield node.target.id


def check_trl(kind: str, names: Iterable[str]) -> None:
    """Refuse names that TRL's config of this kind does not have.

    Raises:
        InputError: it names the nearest that there is.
    """
    asked = list(names)
    known = trl_fields(kind) if asked else []
    for name in asked:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise InputError(f"trl.{name}: {kind} of TRL has no such field{hint}")
