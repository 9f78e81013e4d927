"""Files that commands write: a check before the work that they can be written, and CSV."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rali.errors import InputError

FIGURES = (".png", ".pdf", ".svg")


def check_writable(output: Path | None) -> None:
    """Refuse, before hours of work, a file that cannot be written.

    Raises:
        InputError: its folder does not exist, or writing there is not permitted.
    """
    if output is None:
        return
    parent = output.absolute().parent
    if not parent.is_dir():
        raise InputError(f"There is no folder {parent} to write {output.name} in.")
    if not os.access(parent, os.W_OK):
        raise InputError(f"There is no permission to write {output.name} in {parent}.")


def side_folder(output: Path) -> Path:
    """Where a command keeps what it needs to resume, beside the file that it writes."""
    return output.with_name(f".{output.name}.rali")


def check_output(output: Path, suffixes: Sequence[str]) -> None:
    """Refuse, before the work, a file whose suffix names no kind that is written.

    Raises:
        InputError: the suffix is another, or as `check_writable` says.
    """
    if output.suffix.lower() not in suffixes:
        given = f"has the suffix {output.suffix}" if output.suffix else "has no suffix"
        raise InputError(f"{output} {given}; what is written here ends in {' or '.join(suffixes)}.")
    check_writable(output)


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV file's text."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
