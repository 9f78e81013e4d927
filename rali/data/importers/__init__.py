"""Importers: a data set as its authors ship it → manifest rows.

Each module is one release (or one kind of file) and has a function `read(…) -> list[Row]`. A module
of a release also has a `RELEASE`: its name, files, size, scale and source, and its `read`. Write
the rows with `rali.data.manifest.write_manifest`.
"""

from __future__ import annotations

from . import (
    agiqa3k,
    bid,
    biq2021,
    comparisons,
    csiq,
    csv_columns,
    deqa,
    dq495k,
    folder,
    kadid10k,
    kadis,
    koniq10k,
    lists,
    livec,
    meta_info,
    pipal,
    spaq,
    sriqa_bench,
    tid2013,
)
from ._release import Release
from ._scores import rescale

# Every release by name. `rali data list` prints them; `rali data import` has a command for each.
RELEASES: dict[str, Release] = {
    release.name: release
    for release in (
        koniq10k.RELEASE, spaq.RELEASE, livec.RELEASE, bid.RELEASE, biq2021.RELEASE,
        kadid10k.RELEASE, csiq.RELEASE, tid2013.RELEASE, pipal.RELEASE, agiqa3k.RELEASE,
        lists.LIU13, lists.MIN19, sriqa_bench.RELEASE,
        dq495k.RELEASE, kadis.RELEASE, comparisons.RELEASE,
    )
}  # fmt: skip

__all__ = [
    "RELEASES", "Release", "agiqa3k", "bid", "biq2021", "comparisons", "csiq", "csv_columns",
    "deqa", "dq495k", "folder", "kadid10k", "kadis", "koniq10k", "lists", "livec", "meta_info",
    "pipal", "rescale", "spaq", "sriqa_bench", "tid2013",
]  # fmt: skip
