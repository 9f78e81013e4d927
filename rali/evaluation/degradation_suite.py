"""The suite of degradations: what a teacher perceives, against what was done to each picture.

In: class and severity of each picture, as they are and as they were perceived. Out: Q-Insight's
Table 2 with a measured row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from rali.data.manifest import Row
from rali.errors import InputError
from rali.metrics import mean_interval
from rali.pictures.degrade import canonical

from .published import Cell, SuiteTable, published


def degradation_of(row: Row) -> tuple[str, int]:
    """Class and severity of a row, as answers name them; 0 for `null`, or where it is not known."""
    try:
        name = canonical(row.distortion or "null")
    except InputError:  # a class of another data set
        name = row.distortion
    severity = row.severity or 0
    return ("null", 0) if name == "null" or row.severity == 0 else (name, severity)


def degradation_table(
    label: str, truth: Sequence[tuple[str, int]], perceived: Sequence[tuple[str, int] | None]
) -> SuiteTable:
    """Per class, how often a teacher perceived the class, and the level (Q-Insight, Table 2).

    A level counts only where the class is right.

    Args:
        label: the name of the teacher's row.
        truth: (class, severity) per picture, as `degradation_of` gives them.
        perceived: the same, as the teacher answered; None, where an answer could not be parsed,
            counts as wrong.
    """
    table = published("degradation")
    columns = tuple(table["columns"])
    cells: list[Cell] = []
    for name in columns:
        own = [(t, p) for t, p in zip(truth, perceived, strict=True) if t[0] == name]
        if not own:
            cells.append(Cell(reason=f"there are no pictures of the class {name}"))
            continue
        right = {"class": [p is not None and p[0] == t[0] for t, p in own]}
        levels = [p == t for t, p in own if t[1]]
        if levels:
            right["level"] = levels
        cells.append(
            Cell(
                {metric: float(np.mean(values)) for metric, values in right.items()},
                {metric: mean_interval(values) for metric, values in right.items()},
            )
        )
    if all(cell.values for cell in cells):
        values = {m: [c.values[m] for c in cells if m in c.values] for m in ("class", "level")}
        measured = {metric: float(np.mean(own)) for metric, own in values.items() if own}
        cells.append(Cell(measured))
    else:
        cells.append(Cell(reason=f"an average of {len(columns)} classes needs all of them"))
    notes = ["Per class: accuracy of the class / of its level. The average is over classes."]
    unknown = sum(name in columns and name != "null" and not level for name, level in truth)
    if unknown:
        notes.append(f"Pictures without a severity, which count for the class alone: {unknown}.")
    others = Counter(name for name, _ in truth if name not in columns)
    if others:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(others.items()))
        notes.append(f"Pictures of classes that the table does not have are left out: {counts}.")
    by_method: dict[str, list[dict[str, float]]] = {}
    for line in table["rows"]:
        heading, _, text = line.partition("|")
        method, _, metric = heading.strip().rpartition(", ")
        own_cells = by_method.setdefault(method, [{} for _ in range(len(columns) + 1)])
        for cell, word in zip(own_cells, text.split(), strict=True):
            if word != "-":
                cell[metric] = float(word)
    return SuiteTable(
        "degradation", table["title"], ("class", "level"), (*columns, "average"),
        tuple((method, tuple(map(Cell, own))) for method, own in by_method.items()),
        (label, tuple(cells)),
        tuple(notes),
    )  # fmt: skip
