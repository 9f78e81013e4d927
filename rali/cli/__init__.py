"""The `rali` command. Each command lives in a module of its own beside this one.

Heavy packages are imported inside the commands, so `rali --help` and `rali score` stay fast.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

import typer

from rali.errors import RaliError, missing_extra, printable
from rali.files import is_full
from rali.runs.halving import is_out_of_memory
from rali.runs.parent import end_with_parent
from rali.version import __version__

from . import (
    bench,
    calibrate,
    compare,
    convert,
    data,
    distill,
    evaluate,
    export,
    figure,
    licenses,
    probe,
    quickstart,
    recipes,
    score,
    serve,
    sweep,
    teach,
)
from ._local import local_paths
from ._stop import ending_like_ctrl_c

app = typer.Typer(
    name="rali",
    help="Image quality scores from 1 to 5, distilled from a reasoning teacher.\n\n"
    "Example: rali score photos/ --recursive --explain",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # joins the lines of a paragraph
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rali {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and stop."
    ),
) -> None: ...


app.command("score")(score.score)
app.command("compare")(compare.compare)
app.command("evaluate")(evaluate.evaluate)
app.command("calibrate")(calibrate.calibrate)
app.command("bench")(bench.bench)
app.command("distill")(distill.distill)
app.command("export")(export.export)
app.command("licenses")(licenses.licenses)
app.command("probe")(probe.probe)
app.command("quickstart")(quickstart.quickstart)
app.command("recipes")(recipes.recipes)
app.command("serve")(serve.serve)
app.command("sweep")(sweep.sweep)
app.add_typer(convert.app, name="convert")
app.add_typer(data.app, name="data")
app.add_typer(figure.app, name="figure")
app.add_typer(teach.app, name="teach")
local_paths(app)


def _say_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int,
    file: TextIO | None = None, line: str | None = None,
) -> None:  # fmt: skip
    """Our own warnings are sentences; others' keep the place they come from."""
    own = Path(filename).is_relative_to(Path(__file__).parents[1])
    place = "" if own else f"{filename}:{lineno}: {category.__name__}: "
    _say(f"{place}{message}")


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError):  # standard error may be a full disk itself
        typer.echo(f"rali: {printable(sentence)}", err=True)


def _open_streams() -> None:
    """Make standard output and error print names of any letters, also where they were closed."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # as after 2>&-; else the next file would take its number
            nowhere = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(nowhere, "r" if number == 0 else "w"))
        stream = getattr(sys, name)
        if number and isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """Run the command line; a `RaliError` is one sentence on standard error and exit code 2.

    SIGTERM and SIGHUP end it as Ctrl-C does, with 143 and 129 where that has 130.
    """
    warnings.showwarning = _say_warning
    _open_streams()
    end_with_parent()
    with ending_like_ctrl_c(_say):
        _run()


def _run() -> None:
    try:
        app()
    except Exception as error:
        if (sentence := _sentence(error)) is None:
            raise
        _say(sentence)
        sys.exit(2)


def _sentence(error: Exception) -> str | None:
    """What to say about an error; None for one that nobody foresaw."""
    if is_full(error):
        return "The disk is full. Free some space and type the same command again."
    if isinstance(error, RaliError):
        return str(error)
    if is_out_of_memory(error):
        return (
            "There is not enough memory. Give smaller batches, close other programs, and type the "
            "same command again."
        )
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        return None if package in ("", "rali") else missing_extra(package)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}."
    return None
