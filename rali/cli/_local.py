"""Paths on the command line are on local disk: an address in their place is refused, not made.

`Path("s3://bucket/x")` is the folder `s3:/bucket/x`, which a command would make and fill.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from rali.errors import InputError

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")  # a drive of Windows has one letter


def refuse_address(path: str | Path) -> None:
    """Refuse an address where a path is expected; what lies in a folder that is there is a path.

    Raises:
        InputError: this is one, also where `Path` has made one slash of two.
    """
    text = Path(path).as_posix()
    if _ADDRESS.match(text) and not os.path.isdir(text.partition("/")[0]):  # noqa: PTH112
        address = _ADDRESS.sub(r"\1://", text, count=1)
        raise InputError(
            f"{address} is an address, and here rali reads and writes local disk alone: give a "
            "path, and copy to or from the store with its own tool (such as aws s3 cp, gsutil cp "
            "or fsspec), or mount it."
        )


def local_paths(app: typer.Typer) -> None:
    """Make every command of an app, and of those inside it, refuse addresses as paths."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = _checked(command.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            local_paths(group.typer_instance)


def _checked(command: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(command)
    def checked(**given: Any) -> Any:
        for value in given.values():
            for each in value if isinstance(value, list | tuple) else [value]:
                if isinstance(each, Path):
                    refuse_address(each)
        return command(**given)

    return checked
