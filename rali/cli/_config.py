"""The option that commands with settings share: a recipe by name, or a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rali.recipes import find_recipe

CONFIG_HELP = "Settings: the name of a recipe that `rali recipes` lists, or a YAML file."

Config = Annotated[
    Path,
    typer.Option("--config", parser=find_recipe, metavar="NAME|FILE", help=CONFIG_HELP),
]
OptionalConfig = Annotated[
    Path | None,
    typer.Option("--config", parser=find_recipe, metavar="NAME|FILE", help=CONFIG_HELP),
]
