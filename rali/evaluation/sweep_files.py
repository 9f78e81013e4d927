"""Which files a command of a sweep reads, and which it writes.

A command reads the tables and the files in {data} that its words name, its --config, and the
`manifests` and `triplets` of these settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from rali.recipes import find_recipe
from rali.runs.config import read_yaml, with_overrides

TABLES = (".csv", ".parquet")


def read_by(words: Sequence[str], data: Path) -> list[Path]:
    """The files and folders that a command reads.

    Args:
        words: of the command, without the word `rali`.
        data: what {data} stands for.

    Raises:
        InputError: the command's --config is neither a file nor a recipe.
    """
    parts = _split(words)
    written = _values(parts, "-o", "--output")
    return [
        path for path in (*_named(parts, data), *_of_settings(parts)) if str(path) not in written
    ]


def written_by(words: Sequence[str]) -> list[Path]:
    """The files and folders that a command writes."""
    return [Path(value) for value in _values(_split(words), "-o", "--output")]


def _split(words: Sequence[str]) -> list[str]:
    """A command's words, with `--option=VALUE` as two of them."""
    return [
        part
        for word in words
        for part in (word.split("=", 1) if word.startswith("--") and "=" in word else [word])
    ]


def _values(words: Sequence[str], *options: str) -> list[str]:
    """What follows these options in a command."""
    return [value for option, value in pairwise(words) if option in options]


def _named(words: Sequence[str], data: Path) -> Iterator[Path]:
    """Tables, and files in `data`, that words of a command name."""
    settings = _values(words, "--set")
    for word in words:
        path = Path(word.rpartition("=")[2])  # MILLIONS=FILE of `rali figure`
        if word not in settings and (path.suffix in TABLES or data in path.parents):
            yield path


def _of_settings(words: Sequence[str]) -> Iterator[Path]:
    """The --config of a command, and the manifests and triplets in its settings."""
    for config in _values(words, "--config"):
        recipe = find_recipe(config)
        yield Path(recipe)
        values = with_overrides(read_yaml(recipe), _values(words, "--set"))
        folder = next(iter(_values(words, "--data")), "")
        yield from (Path(folder, name) for name in _leaves(values))


def _leaves(values: Any, key: str = "") -> Iterator[str]:
    """The texts under `manifests` and `triplets`, at any depth."""
    if isinstance(values, dict):
        for name, value in values.items():
            yield from _leaves(value, name)
    elif isinstance(values, list):
        for value in values:
            yield from _leaves(value, key)
    elif isinstance(values, str) and values and key in ("manifests", "triplets"):
        yield values
