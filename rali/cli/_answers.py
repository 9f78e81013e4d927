"""What the commands that ask a teacher do with its answers: keep them, count them, write them.

A table is written whole at the end. Until then the texts are in `.NAME.rali/texts.jsonl` beside it,
as `rali score` keeps its rows, so that the same command resumes. The screen keeps nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer

from rali.files import write_text
from rali.runs.folder import remove_own

from ._bar import scoring_bar
from ._output import csv_text, side_folder

if TYPE_CHECKING:
    from rali.teacher.authors import Decoding
    from rali.teacher.meter import Meter
    from rali.teacher.requests import Engine

T = TypeVar("T")
R = TypeVar("R")


class Asking:
    """An engine while a command asks it.

    Attributes:
        engine: what is asked.
        resumes: whether its texts are kept, so that the same command resumes.
        meter: what its server was asked for and took, over all runs of the question
            whose texts are kept.
    """

    def __init__(self, engine: Engine, hows: Sequence[Decoding], resumes: bool) -> None:
        from rali.teacher.meter import Meter

        self.engine, self.resumes, self.meter = engine, resumes, Meter(engine, *hows)

    def in_chunks(
        self, items: Sequence[T], work: Callable[[Sequence[T]], list[R]], size: int
    ) -> list[R]:
        """What `work` makes of `items`, `size` at a time.

        A stop, or a server that does not answer any more, ends the command where the texts are
        kept. Else it ends the asking alone, and what is done is returned, to be shown.

        Raises:
            InputError: the server does not answer any more, and the texts are kept.
        """
        found: list[R] = []
        try:
            with scoring_bar() as progress:
                for start in range(0, len(items), size):
                    found += work(items[start : start + size])
                    progress("ask", len(found), len(items))
                    self.meter.read()  # what was paid for is not forgotten by a kill
                    if self.resumes:
                        self.meter.check(
                            "The texts that came are kept; the same command asks for the rest."
                        )
                    elif self.meter.stopped:
                        break
        except KeyboardInterrupt as stop:
            more = "; the same command resumes" if self.resumes else ""
            typer.echo(f"rali: stopped after {len(found)} of {len(items)}{more}.", err=True)
            if self.resumes:
                stop.add_note("stopped")  # nobody needs to say it again
                raise
        return found


@contextmanager
def asking(engine: Engine, output: Path | None, hows: Sequence[Decoding]) -> Iterator[Asking]:
    """Ask an engine in a block that writes `output`; its texts are kept until the block's end.

    What its server took is said at the end.

    Args:
        hows: how it is asked.

    Raises:
        InputError: another process is writing the file, or the server does not answer any more.
    """
    if output is None or (output.exists() and not output.is_file()):  # the screen, or a pipe
        asked = Asking(engine, hows, resumes=False)
        with saying_use(asked.meter):
            yield asked
        asked.meter.check("What came before is above; with -o FILE it would be kept.")
        return
    from rali.teacher.kept import KeptTexts

    side = side_folder(output)
    with KeptTexts(engine, side / "texts.jsonl") as kept:
        try:
            asked = Asking(kept, hows, resumes=True)
            with saying_use(asked.meter):
                yield asked
        except BaseException:
            remove_own(side)  # where nothing came
            raise
        asked.meter.forget()
        if left := kept.forget():
            typer.echo(f"rali: {side} keeps {left:,} texts of other questions.", err=True)
        else:
            remove_own(side, "texts.jsonl", "server.json")


@contextmanager
def saying_use(meter: Meter | None) -> Iterator[None]:
    """Say at a block's end what a server was asked for and took; nothing where there is none."""
    from rali.teacher.meter import server_line

    try:
        yield
    finally:
        used = meter.read() if meter else None
        if used and used["requests"]:
            typer.echo(server_line(used), err=True)


def write_table(header: list[str], rows: list[list[Any]], output: Path | None) -> None:
    """Write CSV to a file; on the screen one block per row, as texts are long."""
    if output is not None:
        write_text(output, csv_text(header, rows))
        return
    for row in rows:
        for name, value in zip(header, row, strict=True):
            if value != "":
                shown = value if isinstance(value, str) else json.dumps(value)
                typer.echo(f"{name}: {shown}")
        typer.echo()


def leave(done: int, asked: int, errors: bool) -> NoReturn:
    """Exit with 130 after a stop, with 1 after an error, which is said, else with 0."""
    if errors:
        typer.echo("rali: some have no answer; their error says why.", err=True)
    raise typer.Exit(130 if done < asked else int(errors))


def digits(number: float | None) -> str:
    """Three decimals, or nothing."""
    return "" if number is None else f"{number:.3f}"
