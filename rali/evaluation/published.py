"""The papers' tables as they print them, with room for one measured row.

In: a suite's name. Out: its data sets and published rows, quoted from `published.toml`. A printed
average that is not its row's mean is flagged.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from rali.errors import InputError
from rali.metrics import short_name

HEADINGS = {
    "koniq10k": "KonIQ", "spaq": "SPAQ", "kadid10k": "KADID", "pipal": "PIPAL", "livec": "LiveW",
    "agiqa3k": "AGIQA", "csiq": "CSIQ", "tid2013": "TID2013", "bid": "BID", "liu13": "De-blurring",
    "sriqa-bench": "Super-res.", "min19": "De-hazing",
}  # fmt: skip
"""How the papers head a data set's column."""

ROUNDING = 1.5e-3  # by how much a mean of numbers with three decimals may differ from a printed one


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its numbers, or why there are none.

    Attributes:
        values: numbers by metric; may be empty. intervals: 95 % intervals by metric.
        reason: why it is empty.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class SuiteTable:
    """A paper's table with one measured row, the last.

    Attributes:
        name, title: the suite's. metrics: what a cell holds. columns: headings.
        published: (method, cells) as printed. measured: the same for the measured row.
        notes: sentences below the table.
    """

    name: str
    title: str
    metrics: tuple[str, ...]
    columns: tuple[str, ...]
    published: tuple[tuple[str, tuple[Cell, ...]], ...]
    measured: tuple[str, tuple[Cell, ...]]
    notes: tuple[str, ...] = ()


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads((files("rali") / "evaluation" / "published.toml").read_text("utf-8"))


def suites() -> tuple[str, ...]:
    """The names of all suites."""
    return tuple(_tables())


def published(name: str) -> dict[str, Any]:
    """What `published.toml` says about a suite.

    Raises:
        InputError: there is no such suite.
    """
    if name not in _tables():
        raise InputError(f"There is no suite {name!r}; there are {', '.join(_tables())}.")
    table: dict[str, Any] = _tables()[name]
    return table


def suite_datasets(name: str) -> tuple[str, ...]:
    """The data sets of a suite, in the order of its columns.

    Raises:
        InputError: there is no such suite.
    """
    table = published(name)
    if "groups" in table:
        return tuple(dataset for group in table["groups"] for dataset in group)
    # DQ-495K, which is not public, and what `rali data degrade` makes.
    return ("sriqa-bench",) if name == "sriqa-bench" else ("dq495k", "degraded")


def published_rows(
    name: str, metrics: Sequence[str], groups: Sequence[int]
) -> tuple[tuple[tuple[str, tuple[Cell, ...]], ...], list[str]]:
    """A suite's rows as printed, and a note for each average that is not the mean of its row.

    Args:
        metrics: what a cell holds, in the printed order.
        groups: how many data sets stand before each average.
    """
    found, notes = [], []
    for line in published(name)["rows"]:
        method, _, text = line.partition("|")
        method = method.strip()
        cells = [
            Cell()
            if word == "-"
            else Cell(dict(zip(metrics, map(float, word.split("/")), strict=True)))
            for word in text.split()
        ]
        start = 0
        for count in groups:
            own, average = cells[start : start + count], cells[start + count]
            for metric in metrics:
                mean = float(np.mean([cell.values[metric] for cell in own]))
                if abs(mean - average.values[metric]) > ROUNDING:
                    notes.append(
                        f"{method}: the printed average {short_name(metric)} is "
                        f"{average.values[metric]:.3f}; its row's mean is {mean:.3f}."
                    )
            start += count + 1
        found.append((method, tuple(cells)))
    return tuple(found), notes


def published_sizes(metric: str) -> dict[str, tuple[float, float]]:
    """{method: (millions of parameters, average `metric`)} as RALI's Fig. 1 shows them.

    Raises:
        InputError: a metric other than srcc and plcc.
    """
    table = published("rali")
    if metric not in table["metrics"]:
        raise InputError(f"RALI prints {' and '.join(table['metrics'])}, not {metric!r}.")
    rows, _ = published_rows("rali", table["metrics"], [len(group) for group in table["groups"]])
    return {
        f"{method}, published": (float(table["millions"][method]), cells[-1].values[metric])
        for method, cells in rows
        if method in table["millions"]
    }
