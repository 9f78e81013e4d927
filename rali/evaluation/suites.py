"""The papers' tables with a row of one's own: published results beside a measured one.

In: a suite's name, rows of manifests and what was predicted for them. Out: one table, for
`rali.evaluation.suite_text`. Published cells are quoted from `published.toml` and marked; a
data set that is not there is a dash with its reason, never a zero; a printed average that is not
its row's mean is flagged.
"""

from __future__ import annotations

import math
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rali.data.importers import RELEASES
from rali.data.importers.sriqa_bench import ORIGINAL, REGRESSION
from rali.data.manifest import Row
from rali.errors import InputError
from rali.metrics import mean_interval, plcc, srcc
from rali.pictures.degrade import canonical

from .evaluate import evaluate_predictions

LABELS = {
    "koniq10k": "KonIQ", "spaq": "SPAQ", "kadid10k": "KADID", "pipal": "PIPAL", "livec": "LiveW",
    "agiqa3k": "AGIQA", "csiq": "CSIQ", "tid2013": "TID2013", "bid": "BID", "liu13": "De-blurring",
    "sriqa-bench": "Super-res.", "min19": "De-hazing", "reg_acc": "Reg-Acc", "gen_acc": "Gen-Acc",
    "overall_acc": "Overall-Acc", "plcc": "PLCC", "srcc": "SRCC", "average": "average",
}  # fmt: skip
ROUNDING = 1.5e-3  # by how much a mean of numbers with three decimals may differ from a printed one


@dataclass(frozen=True)
class Cell:
    """A number of a table, or why there is none.

    Attributes:
        values: by metric; empty where there are none. intervals: 95 %, by metric.
        reason: why it is empty.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class SuiteTable:
    """A paper's table with one measured row, the last.

    Attributes:
        name, title: of the suite. metrics: what a cell holds. columns: headings.
        published: (method, cells) as printed. measured: the same.
        notes: what has to be said about it.
    """

    name: str
    title: str
    metrics: tuple[str, ...]
    columns: tuple[str, ...]
    published: tuple[tuple[str, tuple[Cell, ...]], ...]
    measured: tuple[str, tuple[Cell, ...]]
    notes: tuple[str, ...] = ()


@cache
def _published() -> dict[str, Any]:
    return tomllib.loads((files("rali") / "evaluation" / "published.toml").read_text("utf-8"))


def suites() -> tuple[str, ...]:
    """The names of all suites."""
    return tuple(_published())


def suite_datasets(name: str) -> tuple[str, ...]:
    """The data sets of a suite, in the order of its columns.

    Raises:
        InputError: no such suite.
    """
    known = _published()
    if name not in known:
        raise InputError(f"There is no suite {name!r}; there are {', '.join(known)}.")
    if "groups" in known[name]:
        return tuple(dataset for group in known[name]["groups"] for dataset in group)
    # DQ-495K, which is not public, and what `rali data degrade` makes.
    return ("sriqa-bench",) if name == "sriqa-bench" else ("dq495k", "degraded")


def suite_rows(name: str, rows: Sequence[Row]) -> list[Row]:
    """The labelled rows that a suite looks at: of its data sets, the test split if there is one.

    Raises:
        InputError: no such suite, or no labelled row of any of its data sets.
    """
    found = []
    for dataset in suite_datasets(name):
        own = [
            row
            for row in rows
            if row.dataset == dataset
            and (row.score or row.distortion)
            and row.distortion != ORIGINAL  # SRIQA-Bench's photographs themselves
        ]
        test = [row for row in own if row.split == "test"]
        found += test or own
    if not found:
        wanted = ", ".join(suite_datasets(name))
        there = ", ".join(sorted({row.dataset or "unnamed" for row in rows})) or "none"
        raise InputError(
            f"The suite {name!r} is of the data sets {wanted}; the manifests hold {there}. "
            "`rali data import NAME …` gives a manifest the right name."
        )
    return found


def suite_table(
    name: str, label: str, rows: Sequence[Row], predictions: Mapping[Path, float]
) -> SuiteTable:
    """A score suite's table with the row of one model.

    Args:
        label: what to call the model.
        rows: as `suite_rows` gives them. predictions: {picture: score}.

    Raises:
        InputError: no such suite, no labelled rows, or statistics that are not defined.
    """
    rows = suite_rows(name, rows)
    known = _published()[name]
    if name == "sriqa-bench":
        return _enlargements(label, rows, predictions)
    if name == "degradation":
        raise InputError(
            "The suite 'degradation' needs what a teacher says of each picture, not scores: "
            "rali teach perceive."
        )
    evaluation = evaluate_predictions(predictions, rows)
    metrics = tuple(known["metrics"])
    columns: list[str] = []
    cells: list[Cell] = []
    for place, group in enumerate(known["groups"]):
        own = [_measured(dataset, evaluation, metrics) for dataset in group]
        names = known.get("group_names", [""] * len(known["groups"]))
        columns += [LABELS[dataset] for dataset in group]
        columns.append(f"average {names[place]}".strip())
        missing = [d for d, cell in zip(group, own, strict=True) if not cell.values]
        cells += own
        cells.append(
            Cell(reason=f"an average of {len(group)} data sets needs all of them")
            if missing
            else Cell({m: float(np.mean([cell.values[m] for cell in own])) for m in metrics})
        )
    published, notes = _rows(name, metrics, [len(group) for group in known["groups"]])
    if any(row.dataset == "sriqa-bench" for row in rows):
        notes.append("Super-res.: all contents together, though each was rated by itself.")
    return SuiteTable(
        name, known["title"], metrics, tuple(columns), published, (label, tuple(cells)),
        (*_counts(rows), *notes),
    )  # fmt: skip


def _measured(dataset: str, evaluation: Mapping[str, Any], metrics: Sequence[str]) -> Cell:
    numbers = evaluation["datasets"].get(dataset)
    if numbers is None:
        release = RELEASES[dataset]
        return Cell(reason=f"no manifest of {release.title} was given (from {release.home})")
    return Cell(
        {metric: numbers[metric] for metric in metrics},
        {metric: tuple(numbers["intervals"][metric]) for metric in metrics},
    )


def _rows(
    name: str, metrics: Sequence[str], groups: Sequence[int]
) -> tuple[tuple[tuple[str, tuple[Cell, ...]], ...], list[str]]:
    """Published rows, and a note for each printed average that is not the mean of its row."""
    found, notes = [], []
    for line in _published()[name]["rows"]:
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
                        f"{method}: the printed average {metric.upper()} is "
                        f"{average.values[metric]:.3f}; its row's mean is {mean:.3f}."
                    )
            start += count + 1
        found.append((method, tuple(cells)))
    return tuple(found), notes


def _counts(rows: Sequence[Row]) -> list[str]:
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        counts[row.dataset, row.split] = counts.get((row.dataset, row.split), 0) + 1
    told = [
        f"{LABELS.get(dataset, dataset)} {count:,}" + (f" ({split})" if split else "")
        for (dataset, split), count in counts.items()
    ]
    return [f"Pictures of the measured row: {', '.join(told)}. In brackets: 95 % intervals."]


def published_sizes(metric: str) -> dict[str, tuple[float, float]]:
    """{method: (millions of parameters, average `metric`)} of RALI's Fig. 1.

    Raises:
        InputError: a metric other than srcc and plcc.
    """
    known = _published()["rali"]
    if metric not in known["metrics"]:
        raise InputError(f"RALI prints {' and '.join(known['metrics'])}, not {metric!r}.")
    rows, _ = _rows("rali", known["metrics"], [len(group) for group in known["groups"]])
    return {
        f"{method}, published": (float(known["millions"][method]), cells[-1].values[metric])
        for method, cells in rows
        if method in known["millions"]
    }


# ── SRIQA-Bench ──────────────────────────────────────────────────────────────────────────────────


def pairwise_accuracy(predictions: npt.ArrayLike, mos: npt.ArrayLike) -> float:
    """Share of pairs with different `mos` that the predictions order the same way, 0–1.

    Predictions that tie count as wrong. NaN where there is no such pair.
    """
    predicted, true = np.asarray(predictions, float), np.asarray(mos, float)
    first, second = np.triu_indices(len(true), 1)
    wanted = np.sign(true[first] - true[second])
    told = np.sign(predicted[first] - predicted[second])
    clear = wanted != 0
    return float(np.mean(told[clear] == wanted[clear])) if clear.any() else math.nan


def _enlargements(label: str, rows: Sequence[Row], predictions: Mapping[Path, float]) -> SuiteTable:
    """Accuracy over the pairs of each content, means over contents; without the originals."""
    contents: dict[str, list[Row]] = {}
    for row in rows:
        contents.setdefault(row.content, []).append(row)
    per_content = []
    for own in contents.values():
        missing = [row for row in own if row.image not in predictions]
        if missing:
            raise InputError(f"There is no prediction for {missing[0].image}.")
        told = np.array([predictions[row.image] for row in own])
        mos = np.array([row.score for row in own], dtype=float)
        regression = np.array([row.distortion in REGRESSION for row in own])
        constant = len(own) < 3 or np.ptp(told) == 0 or np.ptp(mos) == 0
        per_content.append(
            [
                pairwise_accuracy(told[regression], mos[regression]),
                pairwise_accuracy(told[~regression], mos[~regression]),
                pairwise_accuracy(told, mos),
                math.nan if constant else plcc(told, mos),
                math.nan if constant else srcc(told, mos),
            ]
        )
    values = np.array(per_content)
    known = _published()["sriqa-bench"]
    columns = tuple(known["columns"])
    cells = []
    for place, column in enumerate(columns):
        own_values = values[~np.isnan(values[:, place]), place]
        if not len(own_values):
            cells.append(Cell(reason=f"no content has enough pictures for {LABELS[column]}"))
            continue
        cells.append(
            Cell({"value": float(own_values.mean())}, {"value": mean_interval(own_values)})
        )
    published, _ = _rows("sriqa-bench", ("value",), [])
    note = (
        f"Means over {len(contents)} contents; PLCC and SRCC within a content. In brackets: 95 % "
        "bootstrap intervals over contents."
    )
    return SuiteTable(
        "sriqa-bench", known["title"], ("value",), tuple(LABELS[c] for c in columns), published,
        (label, tuple(cells)), (note,),
    )  # fmt: skip


# ── degradation ──────────────────────────────────────────────────────────────────────────────────


def degradation_of(row: Row) -> tuple[str, int]:
    """Class and severity of a row, as answers name them; `null` has no severity."""
    try:
        name = canonical(row.distortion or "null")
    except InputError:  # a class of another data set
        name = row.distortion
    severity = row.severity or 0
    return ("null", 0) if name == "null" or row.severity == 0 else (name, severity)


def degradation_table(
    label: str, truth: Sequence[tuple[str, int]], told: Sequence[tuple[str, int] | None]
) -> SuiteTable:
    """Class and level accuracy per class of what a teacher perceived.

    Args:
        truth: (class, severity) per picture; class `null` has no severity.
        told: the same as perceived; None where the answer could not be read, which is wrong.

    Returns:
        Two measures per class; a level counts only where the class is right (Q-Insight, Table 2).
    """
    known = _published()["degradation"]
    columns = tuple(known["columns"])
    cells: list[Cell] = []
    for name in columns:
        own = [(t, p) for t, p in zip(truth, told, strict=True) if t[0] == name]
        if not own:
            cells.append(Cell(reason=f"there are no pictures of the class {name}"))
            continue
        right = {"class": [p is not None and p[0] == t[0] for t, p in own]}
        if name != "null":
            right["level"] = [p == t for t, p in own]
        cells.append(
            Cell(
                {metric: float(np.mean(values)) for metric, values in right.items()},
                {metric: mean_interval(values) for metric, values in right.items()},
            )
        )
    if all(cell.values for cell in cells):
        measured = {
            metric: float(np.mean([c.values[metric] for c in cells if metric in c.values]))
            for metric in ("class", "level")
        }
        cells.append(Cell(measured))
    else:
        cells.append(Cell(reason=f"an average of {len(columns)} classes needs all of them"))
    notes = ["Per class: accuracy of the class / of its level. The average is over classes."]
    others = Counter(name for name, _ in truth if name not in columns)
    if others:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(others.items()))
        notes.append(f"Pictures of classes that the table does not have are left out: {counts}.")
    by_method: dict[str, list[dict[str, float]]] = {}
    for line in known["rows"]:
        heading, _, text = line.partition("|")
        method, _, metric = heading.strip().rpartition(", ")
        own_cells = by_method.setdefault(method, [{} for _ in range(len(columns) + 1)])
        for cell, word in zip(own_cells, text.split(), strict=True):
            if word != "-":
                cell[metric] = float(word)
    return SuiteTable(
        "degradation", known["title"], ("class", "level"), (*columns, "average"),
        tuple((method, tuple(map(Cell, own))) for method, own in by_method.items()),
        (label, tuple(cells)),
        tuple(notes),
    )  # fmt: skip
