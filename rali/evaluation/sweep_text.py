"""What a sweep found: one CSV, one Markdown table with the paper's numbers beside, one plot.

In: a sweep's settings and its jobs. Out: sweep.csv, sweep.md and sweep.png.
"""

from __future__ import annotations

import csv
import io
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np

from rali.errors import InputError
from rali.files import read_json, write_text
from rali.metrics import short_name
from rali.report.evaluation import Evaluation

from .sweep import Job, SweepConfig, is_done
from .sweep_orders import baseline_notes, order_notes

AGAIN = "Delete it, and the same command evaluates again."


def results(config: SweepConfig, jobs: Sequence[Job]) -> dict[str, dict[str, list[float]]]:
    """{case: {metric: [a value per seed]}} of the jobs that are done.

    Raises:
        InputError: an evaluation is damaged, or lacks a data set or a metric.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for job in jobs:
        if not is_done(job):
            continue
        try:
            columns = _columns(read_json(job.result, AGAIN))
            for metric in config.metrics:
                column, _, name = metric.rpartition("/")
                value = columns[column or "average"][name]
                found.setdefault(job.case, {}).setdefault(metric, []).append(value)
        except KeyError as error:
            raise InputError(f"{job.result} has no {error}.") from error
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise InputError(f"{job.result} holds no evaluation ({error}). {AGAIN}") from error
    return found


def _columns(stored: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """{data set or column: {metric: value}} of an evaluation, or of a suite's measured row."""
    if "suite" in stored:
        measured: dict[str, dict[str, float]] = stored["rows"][-1]["cells"]
        return measured
    evaluation = Evaluation.from_dict(stored)
    datasets = {name: statistics.values for name, statistics in evaluation.datasets.items()}
    return {**datasets, "average": evaluation.average}


def write_results(config: SweepConfig, jobs: Sequence[Job], folder: str | Path) -> str:
    """Write sweep.csv, sweep.md and sweep.png; returns the Markdown."""
    from rali.report.canvas import save_figure
    from rali.report.plots import intervals

    folder, found = Path(folder), results(config, jobs)
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow(["case", "metric", "seeds", "mean", "sd", "published", "values"])
    for case, metrics in found.items():
        for metric, values in metrics.items():
            paper = config.published.get(case, {}).get(metric, "")
            each = " ".join(map(str, values))
            table.writerow([case, metric, len(values), *_mean_sd(values), paper, each])
    write_text(folder / "sweep.csv", buffer.getvalue())
    printed_metrics = [
        m for m in config.metrics if any(m in printed for printed in config.published.values())
    ]
    header = ["case", *map(_title, config.metrics)]
    header += [f"{_title(metric)}, published" for metric in printed_metrics]
    rows = [header, ["---", *["---:"] * (len(header) - 1)]]
    for case in config.cases:
        cells = [
            _cell(found.get(case, {}).get(metric), len(config.seeds)) for metric in config.metrics
        ]
        printed = config.published.get(case, {})
        cells += [f"{printed[m]:.3f}" if m in printed else "–" for m in printed_metrics]
        rows.append([case, *cells])
    seeds = ", ".join(map(str, config.seeds))
    shown = "Means ± standard deviations of seeds" if len(config.seeds) > 1 else "One seed,"
    titles = {metric: _title(metric) for metric in config.metrics}
    orders = order_notes(found, config.published, titles, len(config.seeds))
    gains = baseline_notes(found, config.baseline, titles, len(config.seeds))
    notes = [f"{shown} {seeds}; {_machine()}.", *gains, *orders, *config.notes]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    text = "\n".join(
        [
            *(f"# {config.title}", "", *lines, ""),
            *(f"- {note}" for note in notes),
            *(["", f"![{config.title}](sweep.png)"] if found else []),
            "",
        ]
    )
    write_text(folder / "sweep.md", text)
    if found:
        save_figure(
            intervals(
                {
                    _title(metric): {
                        case: values[metric] for case, values in found.items() if metric in values
                    }
                    for metric in config.metrics
                },
                title=config.title,
            ),
            folder / "sweep.png",
        )
    return text


def _title(metric: str) -> str:
    """As tables write it: "SRCC", "biq2021 SRCC", "class"."""
    column, _, name = metric.rpartition("/")
    return f"{column} {short_name(name)}".strip()


def _machine() -> str:
    installed = {d.name.lower(): d.version for d in distributions() if d.name}
    versions = {"Python": platform.python_version()}
    versions |= {n: installed[n] for n in ("rali", "torch", "transformers") if n in installed}
    cores = f"{platform.machine()}, {os.cpu_count() or 1} cores"
    return ", ".join([cores, *(f"{name} {version}" for name, version in versions.items())])


def _mean_sd(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _cell(values: Sequence[float] | None, seeds: int) -> str:
    if not values:
        return "–"
    mean, sd = _mean_sd(values)
    text = f"{mean:.3f} ± {sd:.3f}" if len(values) > 1 else f"{mean:.3f}"
    return text if len(values) == seeds else f"{text} ({len(values)} of {seeds} seeds)"
