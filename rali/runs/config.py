"""Configs are dataclasses; this module reads them from YAML, changes single fields, saves them.

Every fault names the field as the user would type it: `align.epochs`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from rali.errors import InputError, require
from rali.files import replace_atomically

T = TypeVar("T")


def from_dict(kind: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Build dataclass `kind` from nested mappings.

    Raises:
        InputError: an unknown field, or a value of the wrong type.
    """
    hints = get_type_hints(kind)
    known = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    built: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{where}{key}"
        if key not in known:
            raise InputError(f"{name} is not a setting; there are {', '.join(sorted(known))}.")
        wanted = hints[key]
        if dataclasses.is_dataclass(wanted):
            if not isinstance(value, Mapping):
                raise InputError(f"{name} is {value!r}; expected settings below it.")
            built[key] = from_dict(wanted, value, f"{name}.")  # type: ignore[arg-type]
        elif get_origin(wanted) is list and dataclasses.is_dataclass(get_args(wanted)[0]):
            if not isinstance(value, list) or not all(isinstance(v, Mapping) for v in value):
                raise InputError(f"{name} is {value!r}; expected a list of settings.")
            kind_of = get_args(wanted)[0]
            built[key] = [from_dict(kind_of, v, f"{name}.{i}.") for i, v in enumerate(value)]
        else:
            built[key] = _coerce(value, wanted, name)
    return kind(**built)


def check_numbers(where: str, config: Any, *, positive: Sequence[str] = (), **least: float) -> None:
    """For a config's `__post_init__`: fields that must be positive, or at least so much.

    Raises:
        InputError: one is not; it is named as the user types it, `where.field`.
    """
    for name, low in least.items():
        if not getattr(config, name) >= low:  # NaN is not either
            raise InputError(f"{where}{name} is {getattr(config, name)}; give {low:g} or more.")
    for name in positive:
        if not getattr(config, name) > 0:
            raise InputError(f"{where}{name} is {getattr(config, name)}; give a number above 0.")


def _coerce(value: Any, wanted: Any, name: str) -> Any:
    if wanted is float and isinstance(value, str):  # YAML reads 1e-3 as a string
        try:
            return float(value)
        except ValueError:
            pass
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if wanted in (int, float, str, bool) and (
        not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))
    ):
        raise InputError(f"{name} is {value!r}; expected {wanted.__name__}.")
    return value


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: no such file, or not a mapping.
    """
    yaml = require("yaml", "data")
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no config file {path}.")
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no settings; expected lines like `seed: 0`.")
    return values


def with_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`["align.epochs=5"]` put into nested `values`; the right side is read as YAML.

    An item of a list goes by its place, as in `tasks.0.variant=binary`.
    """
    yaml = require("yaml", "data")
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign:
            raise InputError(f"--set {override!r}: expected NAME=VALUE, as in align.epochs=5.")
        *parents, last = key.strip().split(".")
        place: Any = values
        for parent in parents:
            if isinstance(place, list):
                place = _item(place, parent, override)
            else:
                place = place.setdefault(parent, {})
            if not isinstance(place, dict | list):
                raise InputError(f"--set {override!r}: {parent} is {place!r}, not a group.")
        if isinstance(place, list):
            raise InputError(f"--set {override!r}: {last} would replace an item of a list whole.")
        try:
            place[last] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"--set {override!r}: {text!r} is not YAML: {error}") from error
    return values


def _item(items: list[Any], place: str, override: str) -> Any:
    if not place.isdigit() or int(place) >= len(items):
        raise InputError(
            f"--set {override!r}: {place} is no place of a list of {len(items)}; the first is 0."
        )
    return items[int(place)]


def write_yaml(config: Any, path: Path) -> None:
    """Save a resolved config dataclass."""
    yaml = require("yaml", "data")
    text = yaml.safe_dump(dataclasses.asdict(config), sort_keys=False)
    replace_atomically(path, lambda target: target.write_text(text, "utf-8"))
