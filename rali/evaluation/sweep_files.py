"""Which files the commands of a sweep read, and which of them are not there.

A command reads the tables and the files in {data} that its words name, and the `manifests` and
`triplets` of its settings. What another command of the sweep writes may still be missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from rali.recipes import find_recipe
from rali.runs.config import read_yaml, with_overrides

from .sweep import Job

TABLES = (".csv", ".parquet")


def missing_files(jobs: Sequence[Job], data: Path) -> dict[Path, list[str]]:
    """{file or folder that is not there: the cases that read it}.

    Args:
        data: what {data} stands for.

    Raises:
        InputError: a command's --config is neither a file nor a recipe.
    """
    commands = [(job.case, _split(words)) for job in jobs for words in job.commands]
    written = {path for _, words in commands for path in _values(words, "-o", "--output")}
    found: dict[Path, list[str]] = {}
    for case, words in commands:
        for path in (*_named(words, data), *_of_settings(words)):
            made = any(Path(folder) in (path, *path.parents) for folder in written)
            if made or path.exists():
                continue
            cases = found.setdefault(path, [])
            if case not in cases:
                cases.append(case)
    return found


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
    """Manifests and triplets in the settings of a command that has a --config."""
    for config in _values(words, "--config"):
        values = with_overrides(read_yaml(find_recipe(config)), _values(words, "--set"))
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
