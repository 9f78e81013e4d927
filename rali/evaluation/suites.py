"""The papers' tables with a measured row beside the published ones.

In: a suite's name, rows of manifests and what was predicted for them. Out: one table, for
`rali.evaluation.suite_text`. A data set that is not there is a dash with its reason, never a zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rali.data.importers import RELEASES
from rali.data.importers.sriqa_bench import ORIGINAL, REGRESSION
from rali.data.manifest import Row
from rali.errors import InputError
from rali.metrics import mean_interval, plcc, srcc
from rali.report.evaluation import Evaluation

from .evaluate import evaluate_predictions, refuse_twice
from .published import HEADINGS, Cell, SuiteTable, published, published_rows, suite_datasets


def suite_rows(name: str, rows: Sequence[Row]) -> list[Row]:
    """The labelled rows of a suite's data sets: of each the test split, or all where it has none.

    Raises:
        InputError: no such suite, no labelled row of any of its data sets, or a picture that is
            twice in one.
    """
    found = _chosen(name, rows)[0]
    refuse_twice(found)
    if not found:
        wanted = ", ".join(suite_datasets(name))
        there = ", ".join(sorted({row.dataset or "unnamed" for row in rows})) or "none"
        raise InputError(
            f"The suite {name!r} needs the data sets {wanted}; the manifests hold {there}. "
            "`rali data import NAME …` gives a manifest the right name."
        )
    return found


def _chosen(name: str, rows: Sequence[Row]) -> tuple[list[Row], int]:
    """The rows of `suite_rows`, and how many of the same splits have no score."""
    found: list[Row] = []
    bare = 0
    for dataset in suite_datasets(name):
        own = [row for row in rows if row.dataset == dataset]
        labelled = [row for row in own if _is_labelled(row, name)]
        test = [row for row in labelled if row.split == "test"]
        found += test or labelled
        bare += sum(row.score is None and (not test or row.split == "test") for row in own)
    return found, bare


def _is_labelled(row: Row, suite: str) -> bool:
    """Whether a suite can compare with what is said of a picture."""
    if suite == "degradation":
        return bool(row.score is not None or row.distortion)
    # In "super-res." only enlarged pictures count; SRIQA-Bench's own table has their originals too.
    return row.score is not None and (suite == "sriqa-bench" or row.distortion != ORIGINAL)


def suite_table(
    name: str, label: str, rows: Sequence[Row], predictions: Mapping[Path, float]
) -> SuiteTable:
    """A score suite's table with the row of one model.

    Args:
        label: the name of the model's row.
        rows: of manifests; what `suite_rows` leaves out needs no prediction.
        predictions: {picture: score}.

    Raises:
        InputError: no such suite, no labelled rows, or statistics that are not defined.
    """
    every, rows = rows, suite_rows(name, rows)
    if name == "degradation":
        raise InputError(
            "The suite 'degradation' needs what a teacher says about each picture, not scores. "
            "Type: rali evaluate TEACHER MANIFEST --suite degradation"
        )
    bare = _chosen(name, every)[1]
    skipped = [f"Rows without a score, skipped: {bare}."] if bare else []
    if name == "sriqa-bench":
        return _enlargements(label, rows, predictions, skipped)
    paper = published(name)
    evaluation = evaluate_predictions(predictions, rows)
    metrics, groups = tuple(paper["metrics"]), paper["groups"]
    names = paper.get("group_names", [""] * len(groups))
    columns: list[str] = []
    cells: list[Cell] = []
    for group_name, group in zip(names, groups, strict=True):
        measured = [_measured(dataset, evaluation, metrics) for dataset in group]
        columns += [HEADINGS[dataset] for dataset in group]
        columns.append(f"average {group_name}".strip())
        cells += measured
        cells.append(
            Cell({m: float(np.mean([cell.values[m] for cell in measured])) for m in metrics})
            if all(cell.values for cell in measured)
            else Cell(reason=f"an average of {len(group)} data sets needs all of them")
        )
    printed, notes = published_rows(name, metrics, [len(group) for group in groups])
    if any(row.dataset == "sriqa-bench" for row in rows):
        notes.append(
            "Super-res.: all contents together, though each was rated by itself, without originals."
        )
    return SuiteTable(
        name, paper["title"], metrics, tuple(columns), printed, (label, tuple(cells)),
        (*_counts(rows), *skipped, *paper.get("notes", ()), *notes),
    )  # fmt: skip


def _measured(dataset: str, evaluation: Evaluation, metrics: Sequence[str]) -> Cell:
    statistics = evaluation.datasets.get(dataset)
    if statistics is None:
        release = RELEASES[dataset]
        return Cell(reason=f"no manifest of {release.title} was given (from {release.home})")
    return Cell(
        {metric: statistics.values[metric] for metric in metrics},
        {metric: statistics.intervals[metric] for metric in metrics},
    )


def _counts(rows: Sequence[Row]) -> list[str]:
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        counts[row.dataset, row.split] = counts.get((row.dataset, row.split), 0) + 1
    shown = [
        f"{HEADINGS.get(dataset, dataset)} {count:,}" + (f" ({split})" if split else "")
        for (dataset, split), count in counts.items()
    ]
    return [f"Pictures of the measured row: {', '.join(shown)}. In brackets: 95 % intervals."]


def pairwise_accuracy(predictions: npt.ArrayLike, mos: npt.ArrayLike) -> float:
    """Share of pairs that the predictions order as `mos` does, 0–1; a tie is an order too.

    NaN where there is no pair. Public code of SRIQA-Bench's authors counts so (A-FINE, metrics),
    where predictions also tie that lie closer than a width chosen for each metric; here they have
    to be equal.
    """
    predicted, true = np.asarray(predictions, float), np.asarray(mos, float)
    first, second = np.triu_indices(len(true), 1)
    order = np.sign(true[first] - true[second])
    guess = np.sign(predicted[first] - predicted[second])
    return float(np.mean(guess == order)) if len(first) else math.nan


def _enlargements(
    label: str, rows: Sequence[Row], predictions: Mapping[Path, float], notes: Sequence[str]
) -> SuiteTable:
    """SRIQA-Bench: accuracy over the pairs of each content, averaged over contents.

    The original is in every group, as people compared it with all ten enlargements: 3 pairs of
    regression, 36 of generation and 55 of all (A-FINE, datasets).
    """
    contents: dict[str, list[Row]] = {}
    for row in rows:
        contents.setdefault(row.content, []).append(row)
    per_content = []
    for own in contents.values():
        missing = [row for row in own if row.image not in predictions]
        if missing:
            raise InputError(f"There is no prediction for {missing[0].image}.")
        predicted = np.array([predictions[row.image] for row in own])
        mos = np.array([row.score for row in own], dtype=float)
        regression = np.array([row.distortion in REGRESSION for row in own])
        original = np.array([row.distortion == ORIGINAL for row in own])
        constant = len(own) < 3 or np.ptp(predicted) == 0 or np.ptp(mos) == 0
        per_content.append(
            [
                pairwise_accuracy(predicted[regression | original], mos[regression | original]),
                pairwise_accuracy(predicted[~regression], mos[~regression]),
                pairwise_accuracy(predicted, mos),
                math.nan if constant else plcc(predicted, mos),
                math.nan if constant else srcc(predicted, mos),
            ]
        )
    values = np.array(per_content)
    paper = published("sriqa-bench")
    cells = []
    for column, column_values in zip(paper["columns"], values.T, strict=True):
        defined = column_values[~np.isnan(column_values)]
        cells.append(
            Cell({"value": float(defined.mean())}, {"value": mean_interval(defined)})
            if len(defined)
            else Cell(reason=f"no content has enough pictures for {column}")
        )
    printed, _ = published_rows("sriqa-bench", ("value",), [])
    note = (
        f"Means over {len(contents)} contents; PLCC and SRCC within a content. In brackets: 95 % "
        "bootstrap intervals over contents. Originals count too, as the printed accuracies need "
        "(of 300, 3,600 and 5,500 pairs); for PLCC and SRCC the paper does not say."
    )
    without = sum(all(row.distortion != ORIGINAL for row in own) for own in contents.values())
    if without:
        notes = [*notes, f"Contents without their original, which the paper's have: {without}."]
    return SuiteTable(
        "sriqa-bench", paper["title"], ("value",), tuple(paper["columns"]), printed,
        (label, tuple(cells)), (note, *notes),
    )  # fmt: skip
