"""Files that commands write: whether they can be written, asked before the work, and CSV."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rali.errors import InputError


def check_writable(output: Path | None) -> None:
    """Refuse a file that could not be written after hours of work.

    Raises:
        InputError: its folder is not there, or may not be written in.
    """
    if output is None:
        return
    parent = output.absolute().parent
    if not parent.is_dir():
        raise InputError(f"There is no folder {parent} to write {output.name} in.")
    if not os.access(parent, os.W_OK):
        raise InputError(f"There is no permission to write {output.name} in {parent}.")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV file's text."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
