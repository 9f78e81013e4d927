"""Importers: a data set's release as its authors ship it → manifest rows.

Each module is one release (or one kind of file) and has one function, `read(…) -> list[Row]`.
Write the rows with `rali.manifest.write_manifest`.
"""

from __future__ import annotations

from collections.abc import Callable

from ..manifest import Row
from . import biq2021, csv_columns, deqa, folder, koniq10k, meta_info
from ._common import rescale

IMPORTERS: dict[str, Callable[..., list[Row]]] = {
    "biq2021": biq2021.read,
    "csv": csv_columns.read,
    "deqa": deqa.read,
    "folder": folder.read,
    "koniq10k": koniq10k.read,
    "meta-info": meta_info.read,
}

__all__ = ["IMPORTERS", "rescale"]
