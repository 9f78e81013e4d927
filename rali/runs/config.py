"""Configs are dataclasses; this module reads them from YAML, changes single fields, saves them.

Every error names the field as the user would type it: `align.epochs`.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from rali.errors import InputError, require
from rali.files import replace_atomically

T = TypeVar("T")


def from_dict(kind: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Build dataclass `kind` from nested mappings.

    Raises:
        InputError: an unknown field, or a value of the wrong type.
    """
    hints = get_type_hints(kind)
    fields = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    built: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{where}{key}"
        if key not in fields:
            raise InputError(f"{name} is not a setting; there are {', '.join(sorted(fields))}.")
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


def describe(config: Any, default: Any = None, where: str = "") -> str:
    """Every setting as `--set` takes it, with its meaning, and its default where it was changed.

        align.epochs=8.0  (default 10.0)
            Passes over the pictures.

    Args:
        config: a dataclass whose meanings are the `Attributes:` of its docstring.
        default: what it is compared with; by default the same dataclass without arguments.
        where: what the user types before a field's name, such as "align.".
    """
    default = type(config)() if default is None else default
    meanings = _meanings(type(config))
    blocks = []
    for field in dataclasses.fields(config):
        name, meaning = f"{where}{field.name}", meanings.get(field.name, "")
        value, usual = getattr(config, field.name), getattr(default, field.name)
        if dataclasses.is_dataclass(value):
            blocks += ["", _wrapped(f"{name}: {meaning}", "# "), describe(value, usual, f"{name}.")]
            continue
        changed = "" if value == usual else f"  (default {_as_typed(usual)})"
        blocks += [f"{name}={_as_typed(value)}{changed}", _wrapped(meaning, " " * 4)]
    return "\n".join(blocks)


def _wrapped(text: str, indent: str) -> str:
    return textwrap.fill(text, 79, initial_indent=indent, subsequent_indent=indent)


def _meanings(kind: type) -> dict[str, str]:
    """The meaning of each field, from `Attributes:` entries such as `name, other: meaning.`"""
    section = (inspect.getdoc(kind) or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    names = "|".join(field.name for field in dataclasses.fields(kind))
    entry = rf"(?:^|(?<=[.] ))((?:{names})(?:, (?:{names}))*): "
    parts = re.split(entry, " ".join(section.split()))
    found = {}
    for listed, meaning in zip(parts[1::2], parts[2::2], strict=True):
        for name in listed.split(", "):
            found[name] = meaning[:1].upper() + meaning[1:].rstrip()
    return found


def _as_typed(value: Any) -> str:
    """A value as `with_overrides` reads it."""
    yaml = require("yaml", "data")
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf).splitlines()[0]


def check_numbers(where: str, config: Any, *, positive: Sequence[str] = (), **least: float) -> None:
    """Check numbers in a config's `__post_init__`.

    Args:
        where: what the user types before a field's name, such as "align.".
        positive: fields that must be above 0.
        least: fields with the smallest value that they may have.

    Raises:
        InputError: one is too small or infinite; it is named as the user types it.
    """
    for name in (*least, *positive):
        if getattr(config, name) == math.inf:
            raise InputError(f"{where}{name} is infinite; give a number.")
    for name, low in least.items():
        if not getattr(config, name) >= low:  # true of NaN too
            raise InputError(f"{where}{name} is {getattr(config, name)}; give {low:g} or more.")
    for name in positive:
        if not getattr(config, name) > 0:
            raise InputError(f"{where}{name} is {getattr(config, name)}; give a number above 0.")


def check_seed(name: str, seed: int) -> None:
    """Refuse a seed that NumPy's generators do not take.

    Args:
        name: what the user types before the value.

    Raises:
        InputError: below 0, or 2³² and more.
    """
    if not 0 <= seed < 2**32:
        raise InputError(f"{name} is {seed}; give a whole number from 0 to {2**32 - 1}.")


def _coerce(value: Any, wanted: Any, name: str) -> Any:
    kind, inner = get_origin(wanted), get_args(wanted)
    if kind in (Union, UnionType):
        return _one_of(value, inner, name)
    if kind in (list, dict):
        value = kind() if value is None else value  # YAML reads an empty one as nothing
        if not isinstance(value, kind):
            raise InputError(f"{name} is {value!r}; expected a {kind.__name__}.")
        if kind is list:
            return [_coerce(each, inner[0], f"{name}.{i}") for i, each in enumerate(value)]
        return {key: _coerce(each, inner[1], f"{name}.{key}") for key, each in value.items()}
    if wanted is float and isinstance(value, str):  # YAML reads 1e-3 as a string
        try:
            return float(value)
        except ValueError:
            pass
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if wanted in (int, float, str, bool, NoneType):
        check_type(name, value, [wanted])
    return value


def _one_of(value: Any, kinds: Sequence[Any], name: str) -> Any:
    """The value as the first of the kinds that it fits, such as those of `int | None`."""
    for kind in () if value is None and NoneType not in kinds else kinds:
        try:
            return _coerce(value, kind, name)
        except InputError:
            continue
    raise _expected(name, value, kinds)


def check_type(name: str, value: Any, kinds: Sequence[type]) -> None:
    """Refuse a value of none of these types; a whole number is a float too, a bool no number.

    Raises:
        InputError: it names the types.
    """
    truth = isinstance(value, bool)  # which Python counts as an integer
    taken = bool if truth else (*kinds, int) if float in kinds else tuple(kinds)
    if not isinstance(value, taken) or (truth and bool not in kinds):
        raise _expected(name, value, kinds)


def _expected(name: str, value: Any, kinds: Sequence[Any]) -> InputError:
    words = ("nothing" if k is NoneType else (get_origin(k) or k).__name__ for k in kinds)
    return InputError(f"{name} is {value!r}; expected {' or '.join(words)}.")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: no such file, or not a mapping.
    """
    yaml = require("yaml", "data")
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no config file {path}.")
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # no UTF-8, or no such day
        raise InputError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no settings; expected lines like `seed: 0`.")
    return values


def with_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Put overrides such as `["align.epochs=5"]` into nested `values` and return these.

    The right side is read as YAML. An item of a list is named by its place, counted from 0, as in
    `tasks.0.variant=binary`.

    Raises:
        InputError: an override that is not NAME=VALUE, or a name that leads nowhere.
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
            raise InputError(f"--set {override!r}: {last} is a whole item; name one of its fields.")
        try:
            place[last] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise InputError(f"--set {override!r}: {text!r} is not YAML: {error}") from error
    return values


def _item(items: list[Any], place: str, override: str) -> Any:
    if not place.isdigit() or int(place) >= len(items):
        raise InputError(
            f"--set {override!r}: {place} is not a place in a list of {len(items)}; the first is 0."
        )
    return items[int(place)]


def write_yaml(values: Mapping[str, Any], path: Path) -> None:
    """Save settings in their order, such as `asdict` of a config."""
    yaml = require("yaml", "data")
    text = yaml.safe_dump(dict(values), sort_keys=False)
    replace_atomically(path, lambda target: target.write_text(text, "utf-8"))
