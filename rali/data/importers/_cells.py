"""Cells of the files that releases ship: JSON lists, texts and spreadsheets, and numbers in them.

In: a path. Out: rows of cells; the place of a row or cell begins the message of an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rali.errors import InputError, require
from rali.files import from_json

from ..tables import number_in


def number(
    text: object, where: str, *, minimum: float = -math.inf, required: bool = False
) -> float | None:
    """The finite number in a cell, None when the cell is empty; `where` begins the error."""
    if text is None or not str(text).strip():
        if required:
            raise InputError(f"{where}: empty; expected a number.")
        return None
    value = number_in(str(text), minimum)
    if value is None:
        least = "" if minimum == -math.inf else f" not below {minimum:g}"
        raise InputError(f"{where}: {str(text)!r} is not a number{least}.")
    return value


def json_rows(path: Path, keys: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    """(file and row, item) of a JSON list of objects that have `keys`.

    Raises:
        InputError: no such file, not such a list, or an item without one of the keys.
    """
    try:
        items = from_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise InputError(f"{path} is not a JSON file: {error}.") from error
    if not isinstance(items, list):
        raise InputError(f"{path} holds a JSON {type(items).__name__}; expected a list.")
    found = []
    for position, item in enumerate(items, 1):
        where = f"{path}, row {position}"
        if not isinstance(item, dict) or not all(key in item for key in keys):
            raise InputError(f"{where}: expected an object with {', '.join(keys)}.")
        found.append((where, item))
    return found


def text_of(item: dict[str, Any], key: str, where: str) -> str:
    """The text under a key of a JSON object; empty for null; `where` begins the error.

    Raises:
        InputError: a number, a list or anything else that is no text.
    """
    value = item[key]
    if value is not None and not isinstance(value, str):
        raise InputError(f"{where}, {key!r}: {value!r} is not a text.")
    return value or ""


def spaced(path: Path, columns: int) -> list[tuple[str, list[str]]]:
    """(file and row, cells) of a text with spaces or commas between its cells; skips blank rows.

    Raises:
        InputError: no such file, not text, or a row with fewer cells than `columns`.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
    found = []
    for position, line in enumerate(lines, 1):
        cells = line.replace(",", " ").split()
        if cells and len(cells) < columns:
            raise InputError(f"{path}, row {position}: {len(cells)} cells; expected {columns}.")
        if cells:
            found.append((f"{path}, row {position}", cells))
    return found


def sheet(path: Path, name: str | None = None) -> list[tuple[Any, ...]]:
    """The cells of a sheet of an .xlsx or .xls file, the first by default; formulas as values.

    Raises:
        InputError: no such file or sheet, or not such a file.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    reader: Callable[[Path, str | None], list[tuple[Any, ...]]] = (
        _xls if path.suffix.lower() == ".xls" else _xlsx
    )
    try:
        cells = reader(path, name)
        if not cells:
            raise InputError(f"{path} is an empty sheet.")
        return cells
    except KeyError as error:
        raise InputError(f"{path} has no sheet {name!r}.") from error
    except InputError:
        raise
    except Exception as error:  # the readers raise whatever a broken file leads them to
        raise InputError(f"{path} cannot be read as a spreadsheet: {error}.") from error


def _xlsx(path: Path, name: str | None) -> list[tuple[Any, ...]]:
    book = require("openpyxl", "data").load_workbook(path, read_only=True, data_only=True)
    try:
        return list((book[name] if name else book.worksheets[0]).iter_rows(values_only=True))
    finally:
        book.close()


def _xls(path: Path, name: str | None) -> list[tuple[Any, ...]]:
    book = require("xlrd", "data").open_workbook(path)
    if name and name not in book.sheet_names():
        raise KeyError(name)
    cells = book.sheet_by_name(name) if name else book.sheet_by_index(0)
    return [tuple(cells.row_values(i)) for i in range(cells.nrows)]
