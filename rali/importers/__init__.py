"""Importers: a data set's release as its authors ship it → manifest rows.

Each module is one release (or one kind of file) and has one function, `read(…) -> list[Row]`.
Write the rows with `rali.manifest.write_manifest`.
"""

from __future__ import annotations

from . import biq2021, csv_columns, deqa, folder, koniq10k, meta_info
from ._common import rescale

__all__ = ["biq2021", "csv_columns", "deqa", "folder", "koniq10k", "meta_info", "rescale"]
