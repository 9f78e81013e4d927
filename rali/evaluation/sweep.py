"""A table of cases, each a few commands, from one file: ablations and sweeps.

In: a YAML file with command templates and cases. Every case and seed fills the templates and runs
them as `rali …` in processes of their own, side by side where wanted. A case that is done is not
run again, and the commands themselves go on where they were stopped. Out: one CSV, one Markdown
table (with the paper's numbers beside) and one plot.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np

from rali.errors import InputError
from rali.runs.config import from_dict, read_yaml
from rali.runs.folder import fingerprint

LOG, DONE = "log.txt", "done.json"


@dataclass
class SweepConfig:
    """What to compare.

    Attributes:
        title: of the table and the plot.
        commands: templates of `rali` command lines, without the word `rali`. They may name
            {data}, {seed}, {out} (the folder of the case and seed, where the results must end up),
            {runs} (a folder for what cases, and sweeps, share: the second of two commands that
            are the same finds its work done), {run} and whatever the cases define. One that a
            case leaves empty is left out.
        cases: {case: {name: value}}, the values of the templates; empty for none. A word that is
            only the name of a text becomes the words of that text.
        run: a template of a folder in {runs} in which several cases do their work, one after the
            other, such as "aligned-{seed}". By default {out}.
        seeds: each case runs with each.
        metrics: which are shown: the average's, as in "srcc", or a column's, as in "csiq/srcc".
        suite: read this suite's table in place of the evaluation.
        published: {case: {metric: value}} as the paper prints them.
        notes: said below the table.
    """

    title: str
    commands: list[str]
    cases: dict[str, dict[str, Any]]
    run: str = "{out}"
    seeds: list[int] = field(default_factory=lambda: [0])
    metrics: list[str] = field(default_factory=lambda: ["plcc", "srcc"])
    suite: str = ""
    published: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not (self.commands and self.cases and self.seeds):
            raise InputError("A sweep needs commands, cases and seeds.")
        strange = set(self.published) - set(self.cases)
        if strange:
            raise InputError(f"published: there is no case {sorted(strange)[0]!r}.")


@dataclass(frozen=True)
class Job:
    """One case with one seed: its folder, the command lines that fill it, and their result."""

    case: str
    seed: int
    out: Path
    result: Path
    run: Path
    commands: tuple[tuple[str, ...], ...]


def read_sweep(path: str | Path) -> SweepConfig:
    """Read a sweep's file.

    Raises:
        InputError: no such file, or settings that a sweep does not have.
    """
    return from_dict(SweepConfig, read_yaml(Path(path)))


def jobs_of(
    config: SweepConfig, folder: str | Path, data: str | Path, runs: str | Path | None = None
) -> list[Job]:
    """All cases and seeds, with their command lines filled in.

    Args:
        folder: of the sweep. data, runs: what {data} and {runs} stand for; {runs} is a folder of
            the sweep by default.

    Raises:
        InputError: a template names something that a case does not define.
    """
    found: list[Job] = []
    runs = Path(folder) / "runs" if runs is None else Path(runs)
    for case, values in config.cases.items():
        for seed in config.seeds:
            slug = re.sub(r"[^a-z0-9.]+", "-", case.lower()).strip("-")
            out = Path(folder) / "cases" / f"{slug}-seed{seed}"
            other = next((job.case for job in found if job.out == out), None)
            if other is not None:
                raise InputError(f"the cases {other!r} and {case!r} would share {out}; rename one.")
            known = {**(values or {}), "data": data, "seed": seed, "out": out, "runs": runs}
            # {out} has the sweep's folder in it already.
            run = out if config.run == "{out}" else runs / _filled(config.run, known, case)
            known["run"] = run
            # Words first, then values: a path with a space stays one word.
            commands = tuple(
                tuple(word for template in line.split() for word in _words(template, known, case))
                for line in config.commands
            )
            commands = tuple(words for words in commands if words)  # a case may leave one out
            result = out / f"{config.suite or 'evaluation'}.json"
            found.append(Job(case, seed, out, result, run, commands))
    return found


def _filled(template: str, known: Mapping[str, Any], case: str) -> str:
    try:
        return template.format_map(dict(known))
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"case {case!r}: the template {template!r} wants {error}, which is not defined; there "
            f"are {', '.join(known)}."
        ) from error


def _words(template: str, known: Mapping[str, Any], case: str) -> list[str]:
    """A word of a command; one that is only the name of a text becomes the words of that text."""
    whole = re.fullmatch(r"\{(\w+)\}", template)
    value = known.get(whole[1]) if whole else None
    if isinstance(value, str):
        return [_filled(word, known, case) for word in value.split()]
    return [_filled(template, known, case)]


def run_sweep(
    jobs: Sequence[Job], parallel: int = 1, report: Callable[[int, int, Job], None] | None = None
) -> None:
    """Run what is not done, `parallel` at a time; jobs that share a folder take turns.

    Args:
        report: called with (jobs done, jobs, the job).

    Raises:
        InputError: a command failed; the message names the case, the command and the log.
    """
    locks: dict[Path | tuple[str, ...], threading.Lock] = defaultdict(threading.Lock)
    stop = threading.Event()
    running: set[subprocess.Popen[bytes]] = set()

    def work(job: Job) -> None:
        if _is_done(job) or stop.is_set():
            return
        with locks[job.run]:
            job.out.mkdir(parents=True, exist_ok=True)
            job.result.unlink(missing_ok=True)  # of other settings
            with (job.out / LOG).open("ab") as log:
                for words in job.commands:
                    with locks[words]:  # the second of two that are the same finds it done
                        if stop.is_set():
                            return
                        log.write(f"$ rali {' '.join(words)}\n".encode())
                        log.flush()
                        process = subprocess.Popen(
                            [sys.executable, "-m", "rali", *words], stdout=log, stderr=log
                        )
                        running.add(process)
                        code = process.wait()
                        running.discard(process)
                    if code and not stop.is_set():
                        raise InputError(
                            f"{job.case}, seed {job.seed}: `rali {' '.join(words)}` ended with "
                            f"{code}; {job.out / LOG} says why. Mended, the same command goes on."
                        )
            if stop.is_set():
                return
            if not job.result.is_file():
                raise InputError(
                    f"{job.case}: the commands left no {job.result}; end with "
                    "`evaluate … -o {out}`."
                )
            (job.out / DONE).write_text(json.dumps(_mark(job)) + "\n", "utf-8")

    with ThreadPoolExecutor(max(1, parallel)) as pool:
        waiting = {pool.submit(work, job): job for job in jobs}
        try:
            for done, finished in enumerate(as_completed(waiting), 1):
                finished.result()
                if report:
                    report(done, len(jobs), waiting[finished])
        except BaseException:
            stop.set()
            for process in list(running):
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _mark(job: Job) -> dict[str, Any]:
    return {"fingerprint": fingerprint([list(words) for words in job.commands])}


def _is_done(job: Job) -> bool:
    file = job.out / DONE
    return file.is_file() and json.loads(file.read_text("utf-8")) == _mark(job)


def results(config: SweepConfig, jobs: Sequence[Job]) -> dict[str, dict[str, list[float]]]:
    """{case: {metric: [a value per seed]}} of what is done.

    Raises:
        InputError: an evaluation lacks the data set or a metric.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for job in jobs:
        if not _is_done(job):
            continue
        try:
            columns = _columns(json.loads(job.result.read_text("utf-8")))
            for metric in config.metrics:
                column, _, name = metric.rpartition("/")
                value = columns[column or "average"][name]
                found.setdefault(job.case, {}).setdefault(metric, []).append(value)
        except KeyError as error:
            raise InputError(f"{job.result} has no {error}.") from error
    return found


def _columns(told: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """{data set or column: {metric: value}} of an evaluation, or of a suite's measured row."""
    if "suite" in told:
        measured: dict[str, dict[str, float]] = told["rows"][-1]["cells"]
        return measured
    return {**told["datasets"], "average": told["average"]}


def write_results(config: SweepConfig, jobs: Sequence[Job], folder: str | Path) -> str:
    """Write sweep.csv, sweep.md and sweep.png; returns the Markdown."""
    from rali.report.plots import intervals, save_png

    folder, found = Path(folder), results(config, jobs)
    with (folder / "sweep.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["case", "metric", "seeds", "mean", "sd", "published"])
        for case, metrics in found.items():
            for metric, values in metrics.items():
                paper = config.published.get(case, {}).get(metric, "")
                table.writerow([case, metric, len(values), *_mean_sd(values), paper])
    known = [
        m for m in config.metrics if any(m in printed for printed in config.published.values())
    ]
    header = ["case", *map(_title, config.metrics), *(f"{_title(m)}, published" for m in known)]
    rows = [header, ["---", *["---:"] * (len(header) - 1)]]
    for case in config.cases:
        cells = [_cell(found.get(case, {}).get(metric)) for metric in config.metrics]
        printed = config.published.get(case, {})
        cells += [f"{printed[m]:.3f}" if m in printed else "–" for m in known]
        rows.append([case, *cells])
    seeds = ", ".join(map(str, config.seeds))
    shown = "Means ± standard deviations of seeds" if len(config.seeds) > 1 else "One seed,"
    notes = [f"{shown} {seeds}; {_machine()}.", *config.notes]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    text = "\n".join(
        [
            *(f"# {config.title}", "", *lines, ""),
            *(f"- {note}" for note in notes),
            *(["", f"![{config.title}](sweep.png)"] if found else []),
            "",
        ]
    )
    (folder / "sweep.md").write_text(text, "utf-8")
    if found:
        save_png(
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
    name = name.upper() if name in ("plcc", "srcc") else name
    return f"{column} {name}".strip()


def _machine() -> str:
    known = {d.name.lower(): d.version for d in distributions() if d.name}
    told = [f"{name} {known[name]}" for name in ("rali", "torch", "transformers") if name in known]
    cores = os.cpu_count() or 1
    return f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, " + ", ".join(
        told
    )


def _mean_sd(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _cell(values: Sequence[float] | None) -> str:
    if not values:
        return "–"
    mean, sd = _mean_sd(values)
    return f"{mean:.3f} ± {sd:.3f}" if len(values) > 1 else f"{mean:.3f}"
