"""`rali recipes`: the settings that ship with rali."""

from __future__ import annotations

from typing import Annotated

import typer


def recipes(
    name: Annotated[
        str | None, typer.Argument(help="Print this recipe.", show_default="list all recipes")
    ] = None,
    path: Annotated[
        bool,
        typer.Option("--path", help="Print the path of the recipe's file instead of its text."),
    ] = False,
) -> None:
    """List the recipes and sweeps that ship with rali, or print one.

    Every --config takes the name of a recipe or a file. To change a recipe, print it into a file of
    your own, or give single settings with --set.

    Example: rali recipes visualquality-r1-kadid > mine.yaml
    """
    from rich.console import Console
    from rich.table import Table

    from rali.errors import InputError
    from rali.recipes import find_recipe, summary
    from rali.recipes import recipes as shipped

    if name is not None:
        file = find_recipe(name)
        typer.echo(str(file) if path else file.read_text("utf-8").rstrip())
        return
    if path:
        raise InputError("--path needs the name of a recipe, as in: rali recipes fsdp2 --path")
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for recipe, file in shipped().items():
        table.add_row(recipe, summary(file))
    Console(highlight=False, markup=False).print(table)
