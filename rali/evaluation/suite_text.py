"""A paper's table with a measured row, as Markdown, LaTeX, CSV or JSON.

In: a `SuiteTable`. Out: text. An empty cell is a dash, and its reason a note below.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from rali.errors import InputError
from rali.metrics import short_name
from rali.report.evaluation import escaped

from .published import Cell, SuiteTable

LATEX = {sign: "\\" + sign for sign in "&%_#${}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip
FORMATS = ("markdown", "latex", "csv", "json")


def render(table: SuiteTable, form: str) -> str:
    """The table as `markdown`, `latex`, `csv` or `json`.

    Raises:
        InputError: there is no such format.
    """
    forms = {"markdown": _markdown, "latex": _latex, "csv": _csv, "json": _json}
    if form not in forms:
        raise InputError(f"There is no format {form!r}; there are {', '.join(FORMATS)}.")
    return forms[form](table)


def _text(cell: Cell, metrics: Sequence[str]) -> str:
    """Such as `0.933 / 0.916`, each with its interval if it has one; a dash for an empty cell."""
    words = []
    for metric in metrics:
        if metric not in cell.values:
            continue
        word = f"{cell.values[metric]:.3f}"
        if metric in cell.intervals:
            low, high = cell.intervals[metric]
            word += f" [{low:.3f}, {high:.3f}]"
        words.append(word)
    return " / ".join(words) if words else "–"


def _reasons(table: SuiteTable) -> list[str]:
    _, cells = table.measured
    return [
        f"{column}: {cell.reason}."
        for column, cell in zip(table.columns, cells, strict=True)
        if cell.reason
    ]


def _lines(table: SuiteTable) -> list[list[str]]:
    lines = [
        [method, "published", *(_text(cell, table.metrics) for cell in cells)]
        for method, cells in table.published
    ]
    label, cells = table.measured
    return [*lines, [label, "measured", *(_text(cell, table.metrics) for cell in cells)]]


def _metric_names(table: SuiteTable) -> str:
    if table.metrics == ("value",):
        return ""
    return f" ({' / '.join(map(short_name, table.metrics))})"


def _markdown(table: SuiteTable) -> str:
    header = ["method", "", *table.columns]
    ruler = ["---", "---", *["---:"] * len(table.columns)]
    body = [[escaped(cell) for cell in line] for line in _lines(table)]
    lines = ["| " + " | ".join(row) + " |" for row in [header, ruler, *body]]
    notes = "\n".join(f"- {note}" for note in [*table.notes, *_reasons(table)])
    return f"## {table.title}{_metric_names(table)}\n\n" + "\n".join(lines) + f"\n\n{notes}\n"


def _latex(table: SuiteTable) -> str:
    def safe(text: str) -> str:
        text = "".join(LATEX.get(sign, sign) for sign in text)
        return text.replace("†", r"$\dagger$").replace("–", "--")

    rows = [" & ".join(map(safe, line)) + r" \\" for line in _lines(table)]
    header = " & ".join(["Method", "", *map(safe, table.columns)]) + r" \\"
    notes = "".join(f"% {note}\n" for note in [*table.notes, *_reasons(table)])
    return (
        f"% {table.title}{_metric_names(table)}; all rows but the last as published\n{notes}"
        rf"\begin{{tabular}}{{ll{'c' * len(table.columns)}}}"
        + "\n\\toprule\n"
        + "\n".join([header, r"\midrule", *rows[:-1], r"\midrule", rows[-1]])
        + "\n\\bottomrule\n\\end{tabular}\n"
    )


def _csv(table: SuiteTable) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["method", "source", "column", "metric", "value", "low", "high", "reason"])
    for method, source, cells in _all(table):
        for column, cell in zip(table.columns, cells, strict=True):
            if not cell.values:
                writer.writerow([method, source, column, "", "", "", "", cell.reason])
            for metric, value in cell.values.items():
                low, high = cell.intervals.get(metric, ("", ""))
                writer.writerow([method, source, column, metric, value, low, high, ""])
    return out.getvalue()


def _json(table: SuiteTable) -> str:
    found = {
        "suite": table.name,
        "title": table.title,
        "metrics": table.metrics,
        "rows": [
            {
                "method": method,
                "source": source,
                "cells": {
                    column: {"reason": cell.reason or None, **cell.values}
                    | ({"intervals": dict(cell.intervals)} if cell.intervals else {})
                    for column, cell in zip(table.columns, cells, strict=True)
                },
            }
            for method, source, cells in _all(table)
        ],
        "notes": table.notes,
    }
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def _all(table: SuiteTable) -> list[tuple[str, str, tuple[Cell, ...]]]:
    return [
        *((method, "published", cells) for method, cells in table.published),
        (table.measured[0], "measured", table.measured[1]),
    ]
