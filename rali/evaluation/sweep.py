"""A table of cases, each a few commands, from one file: ablations and sweeps.

In: a YAML file with command templates and cases. Every case and seed fills the templates and runs
them as `rali …` in processes of their own, some of them side by side. A case that is done is not
run again while the files that it reads are the same, and a command that was stopped resumes. Out:
each case's results in a folder of its own.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rali.errors import InputError
from rali.files import image_sha256, read_json, write_text
from rali.runs.config import from_dict, read_yaml
from rali.runs.folder import fingerprint
from rali.runs.parent import start_child
from rali.runs.progress import Progress, silent

from .sweep_files import read_by, written_by

RALI = (sys.executable, "-m", "rali")
LOG, DONE = "log.txt", "done.json"


@dataclass
class SweepConfig:
    """What to compare.

    Attributes:
        title: the heading of the table and the plot.
        commands: templates of `rali` command lines, without the word `rali`. They may name
            {data}, {seed}, {out} (the folder of the case and seed, in which the results must end
            up), {runs} (a folder that cases and sweeps share: where two commands are the same, the
            second finds its work done), {run} and whatever the cases define. A command that a case
            leaves empty is skipped.
        cases: {case: {name: value}}, the values for the templates, which may be empty. A word of a
            template that is only the name of a text becomes the words of that text.
        run: a template of a folder in {runs} in which several cases do their work, one after the
            other, such as "aligned-{seed}". By default {out}.
        seeds: each case runs with each of them.
        metrics: the ones shown: of the average, as in "srcc", or of a column, as in "csiq/srcc".
        suite: the suite whose table is read; by default the evaluation is read.
        baseline: the case from which the others' differences are told; "" tells none.
        published: {case: {metric: value}} as the paper prints them.
        notes: sentences below the table.
    """

    title: str
    commands: list[str]
    cases: dict[str, dict[str, Any]]
    run: str = "{out}"
    seeds: list[int] = field(default_factory=lambda: [0])
    metrics: list[str] = field(default_factory=lambda: ["plcc", "srcc"])
    suite: str = ""
    baseline: str = ""
    published: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not (self.commands and self.cases and self.seeds):
            raise InputError("A sweep needs commands, cases and seeds.")
        for name, cases in (("published", self.published), ("baseline", [self.baseline])):
            unknown = set(cases) - {"", *self.cases}
            if unknown:
                raise InputError(f"{name}: there is no case {sorted(unknown)[0]!r}.")


@dataclass(frozen=True)
class Job:
    """One case with one seed: its folder, the command lines that fill it, and their result.

    Attributes:
        reads: files and folders that the commands read, but for what the sweep itself writes.
    """

    case: str
    seed: int
    out: Path
    result: Path
    run: Path
    commands: tuple[tuple[str, ...], ...]
    reads: tuple[Path, ...] = ()


def read_sweep(path: str | Path) -> SweepConfig:
    """Read a sweep's YAML file.

    Raises:
        InputError: there is no such file, or it has settings that a sweep does not have.
    """
    return from_dict(SweepConfig, read_yaml(Path(path)))


def jobs_of(
    config: SweepConfig, folder: str | Path, data: str | Path, runs: str | Path | None = None
) -> list[Job]:
    """All cases and seeds, with their command lines filled in.

    Args:
        folder: the sweep's folder.
        data, runs: what {data} and {runs} stand for; {runs} is a folder in the sweep's by default.

    Raises:
        InputError: a template names something that a case does not define, or a --config is
            neither a file nor a recipe.
    """
    found: list[Job] = []
    runs = Path(folder) / "runs" if runs is None else Path(runs)
    for case, values in config.cases.items():
        for seed in config.seeds:
            slug = re.sub(r"[^a-z0-9.]+", "-", case.lower()).strip("-")
            out = Path(folder) / "cases" / f"{slug}-seed{seed}"
            other = next((job.case for job in found if job.out == out), None)
            if other is not None:
                raise InputError(f"The cases {other!r} and {case!r} would share {out}; rename one.")
            names = {**(values or {}), "data": data, "seed": seed, "out": out, "runs": runs}
            # {out} already contains the sweep's folder.
            run = out if config.run == "{out}" else runs / _filled(config.run, names, case)
            names["run"] = run
            # Words first, then values: a path with a space stays one word.
            commands = tuple(
                tuple(word for template in line.split() for word in _words(template, names, case))
                for line in config.commands
            )
            commands = tuple(words for words in commands if words)  # a case may leave one empty
            result = out / f"{config.suite or 'evaluation'}.json"
            found.append(Job(case, seed, out, result, run, commands))
    made = {path for job in found for words in job.commands for path in written_by(words)}
    return [replace(job, reads=_read_by(job, Path(data), made)) for job in found]


def _read_by(job: Job, data: Path, made: Collection[Path]) -> tuple[Path, ...]:
    read = dict.fromkeys(path for words in job.commands for path in read_by(words, data))
    return tuple(path for path in read if not any(p in made for p in (path, *path.parents)))


def missing_files(jobs: Iterable[Job]) -> dict[Path, list[str]]:
    """{file or folder that is not there: the cases that read it}."""
    found: dict[Path, list[str]] = {}
    for job in jobs:
        for path in job.reads:
            if not path.exists() and job.case not in found.setdefault(path, []):
                found[path].append(job.case)
    return found


def _filled(template: str, names: Mapping[str, Any], case: str) -> str:
    try:
        return template.format_map(dict(names))
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"Case {case!r}: the template {template!r} needs {error}, which is not defined; there "
            f"are {', '.join(names)}."
        ) from error


def _words(template: str, names: Mapping[str, Any], case: str) -> list[str]:
    """A word of a command; one that is only the name of a text becomes the words of that text."""
    whole = re.fullmatch(r"\{(\w+)\}", template)
    value = names.get(whole[1]) if whole else None
    if isinstance(value, str):
        return [_filled(word, names, case) for word in value.split()]
    return [_filled(template, names, case)]


def run_sweep(jobs: Sequence[Job], parallel: int = 1, *, progress: Progress = silent) -> None:
    """Run what is not done, `parallel` at a time; jobs that share a folder take turns.

    Raises:
        InputError: a command failed; the message names the case, the command and the log.
    """
    locks: dict[Path | tuple[str, ...], threading.Lock] = defaultdict(threading.Lock)
    stop = threading.Event()
    running: set[subprocess.Popen[bytes]] = set()

    def work(job: Job) -> None:
        if is_done(job) or stop.is_set():
            return
        with locks[job.run]:
            job.out.mkdir(parents=True, exist_ok=True)
            mark = _mark(job)
            (job.out / DONE).unlink(missing_ok=True)  # first, or a kill leaves it beside another's
            job.result.unlink(missing_ok=True)  # it may be of other settings
            with (job.out / LOG).open("ab") as log:
                for words in job.commands:
                    with locks[words]:  # of two that are the same, the second finds it done
                        if stop.is_set():
                            return
                        log.write(f"$ rali {' '.join(words)}\n".encode())
                        log.flush()
                        with start_child([*RALI, *words], stdout=log, stderr=log) as process:
                            running.add(process)
                            code = process.wait()
                        running.discard(process)
                    if code and not stop.is_set():
                        raise InputError(
                            f"{job.case}, seed {job.seed}: `rali {' '.join(words)}` ended with "
                            f"{code}; {job.out / LOG} says why. Once that is corrected, the same "
                            "command resumes the sweep."
                        )
            if stop.is_set():
                return
            if not job.result.is_file():
                raise InputError(
                    f"{job.case}: the commands left no {job.result}; the last one should be "
                    "`evaluate … -o {out}`."
                )
            write_text(job.out / DONE, json.dumps(mark) + "\n", durable=True)

    with ThreadPoolExecutor(max(1, parallel)) as pool:
        futures = [pool.submit(work, job) for job in jobs]
        try:
            for done, finished in enumerate(as_completed(futures), 1):
                finished.result()
                progress("cases", done, len(jobs))
        except BaseException:
            stop.set()
            for process in list(running):
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _mark(job: Job) -> dict[str, Any]:
    words = [list(words) for words in job.commands]
    return {"fingerprint": fingerprint([words, {str(path): _state(path) for path in job.reads}])}


def _state(path: Path) -> Any:
    """What tells whether a file or folder is another one than before; None where there is none."""
    if path.is_dir():
        inside = sorted(each for each in path.rglob("*") if each.is_file())
        return [[each.relative_to(path).as_posix(), _state(each)] for each in inside]
    if not path.is_file():
        return None
    now = path.stat()
    return _sha256(path, now.st_size, now.st_mtime_ns)


@functools.cache
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """A file's SHA-256, which is computed once for each size and time of change."""
    return image_sha256(path)


def is_done(job: Job) -> bool:
    """Whether the job's commands, as they are now, ran to their end on the files as they are."""
    file = job.out / DONE
    if not (file.is_file() and job.result.is_file()):
        return False
    return read_json(file, "Delete it, and the same command runs the case again.") == _mark(job)
