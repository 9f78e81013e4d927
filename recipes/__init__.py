"""The recipes and sweeps that ship with rali, by name: settings as YAML files.

A recipe's first comment says what it trains; a sweep's lies in `sweeps/`.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from rali.errors import InputError


def recipes() -> dict[str, Path]:
    """{name: file} of everything that ships, recipes first, each in alphabetical order."""
    folder = Path(str(files("rali.recipes")))
    found = [*sorted(folder.glob("*.yaml")), *sorted((folder / "sweeps").glob("*.yaml"))]
    return {file.stem: file for file in found}


def find_recipe(name: str | Path) -> Path:
    """The file that `name` means: a file that is there, or else a recipe that ships.

    Raises:
        InputError: neither.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = recipes()
    if str(name) in shipped:
        return shipped[str(name)]
    raise InputError(
        f"There is no file {name}, and no recipe of that name ships with rali. To see those that "
        "do, type: rali recipes"
    )


def summary(file: Path) -> str:
    """The first sentence of a recipe's opening comment."""
    comment = ""
    for line in file.read_text("utf-8").splitlines():
        if not line.startswith("#") or comment.endswith(":"):
            break
        comment = f"{comment} {line.lstrip('# ')}".strip()
    return re.split(r"(?<=\.)\s+(?=[A-Z])", comment)[0].rstrip(":.") + "."
