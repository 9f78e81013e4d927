"""What `rali score` does: sources in, rows into a file, a folder of shards or the screen."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rali.errors import InputError, require
from rali.files import replace_atomically
from rali.scoring.journal import Journal
from rali.scoring.keys import New
from rali.scoring.rows import columns_of, encoder_of, score_rows, settings_of
from rali.scoring.selection import condition, selected

from ._bar import scoring_bar
from ._maps import drawing, map_names
from ._output import check_output, check_writable
from ._resume import Screen, Shards, compared, file_journal
from ._rows import show, write_rows, write_vectors
from ._stop import Stop, stoppable

if TYPE_CHECKING:
    from rali.scoring.scorer import Scorer

    from ._xmp import Sidecars, Xmp

SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet", ".txt": "table"}


@dataclass(frozen=True)
class Job:
    """The options of `rali score` that say what rows hold and where they go."""

    output: Path | None
    form: str | None
    interval: float | None
    explain: bool
    embeddings: str | None
    maps: Path | None
    report: Path | None
    where: str | None
    sort: str | None
    top: int | None
    copy_to: Path | None
    move_to: Path | None
    restart: bool
    retry: bool
    xmp: Xmp | None = None
    ray: bool = False  # scores, in place of this process
    workers: int | None = None  # Ray's
    provider: str | None = None  # that is not the processor

    @property
    def selects(self) -> bool:
        return bool(self.where or self.sort or self.top)

    @property
    def collects(self) -> Path | None:
        return self.copy_to or self.move_to


def run(job: Job, open_entries: Callable[[], Any], open_scorer: Callable[[], Scorer]) -> int:
    """Do it; returns the exit code: 0, 1 if a picture failed, 128 + the signal that ended it.

    Raises:
        InputError: options that do not go together, an output that cannot be used, no pictures.
    """
    try:
        with stoppable() as stop:
            return _run(job, open_entries, open_scorer, stop)
    except KeyboardInterrupt as stopped:  # before the first picture, or again at the end
        typer.echo("rali: stopped.", err=True)
        return getattr(stopped, "code", 130)


def _run(
    job: Job, open_entries: Callable[[], Any], open_scorer: Callable[[], Scorer], stop: Stop
) -> int:
    form, folder = _form(job)
    _check(job, form, folder)
    vectors = Path(job.embeddings) if job.embeddings not in (None, "column") else None
    entries = open_entries()
    if job.move_to:
        from ._collect import check_movable

        check_movable(entries)
    scorer = open_scorer()
    asked = {"why": job.explain, "embedding": job.embeddings is not None}
    columns = columns_of(interval=job.interval is not None, **asked)
    shown = [name for name in columns if name != "embedding" or job.embeddings == "column"]
    settings = settings_of(scorer, interval=job.interval, **asked)
    settings |= {"maps": job.maps is not None, "xmp": job.xmp and job.xmp.setting}
    settings["provider"] = job.provider
    if job.output is None or _is_special(job.output):
        held = job.sort or job.top or vectors or job.collects or job.report
        streams = form in ("csv", "jsonl") and not held
        at_once = streams and job.output is None
    else:
        at_once = form in ("csv", "jsonl") and not (job.selects or vectors)
    with ExitStack() as opened:
        sink = opened.enter_context(
            _sink(job, scorer, columns, settings, form, folder, direct=at_once)
        )
        sidecars = _sidecars(job, scorer, opened)
        code, speed, before = _score(job, sink, scorer, entries, columns, stop, sidecars)

        def rows() -> Iterator[dict[str, Any]]:
            assert isinstance(sink, Journal)
            order = {"where": job.where, "sort": job.sort, "top": job.top}
            return (sink.row_at(place) for place in selected(sink.read(), **order))  # type: ignore[arg-type]

        written = folder or at_once
        if isinstance(sink, Journal) and not at_once and (not code or job.output is None):
            if job.output is None:
                show(rows, shown, form)
            else:
                named = encoder_of(shown, settings)
                _whole(job.output, lambda path: write_rows(rows, shown, form, path, named))
            if vectors:
                _whole(vectors, lambda path: write_vectors(rows, path))
            written = True
        if job.report and not code:
            from ._sheet import write_sheet

            names = None if job.maps is None else map_names(sink)
            maps = {key: job.maps / name for key, name in (names or {}).items() if job.maps}
            write_sheet(job.report, rows, entries, scorer, maps)
        whole = True
        if job.collects and not code:
            from ._collect import collect

            sentence, whole = collect(rows, entries, job.collects, move=job.move_to is not None)
            typer.echo(f"rali: {sentence}", err=True)
        line = _closing(sink, before, speed, job.output if written else None)
    for sentence in sidecars.sentences() if sidecars else ():
        typer.echo(f"rali: {sentence}", err=True)
    if code:
        again = "; the same command resumes" if job.output is not None else ""
        typer.echo(f"rali: stopped: {line}{again}.", err=True)
        return code
    typer.echo(f"rali: {line}.", err=True)
    return int(sink.failed > 0 or not whole or bool(sidecars and sidecars.counts["failed"]))


def _score(
    job: Job, sink: Any, scorer: Scorer, entries: Any, columns: list[str], stop: Stop,
    sidecars: Sidecars | None,
) -> tuple[int, float, int]:  # fmt: skip
    """Fill the sink; returns an exit code if a signal ended it, pictures/s and the rows before."""
    draw = None if job.maps is None else drawing(scorer, job.maps, sink)
    total, before, started, code = entries.count, sink.rows, time.monotonic(), 0
    if job.output is not None and not _is_special(job.output):
        entries = compared(job.output, sink, entries, by_ray=job.ray)
    new = New(entries, sink.done)
    pictures: dict[str, Any] = {}  # those between the source and their map: few

    def kept() -> Iterator[Any]:
        for entry in new:
            pictures[entry.key] = entry
            yield entry

    try:
        with scoring_bar() as progress:
            rows = (
                _on_ray(job, scorer, new, columns)
                if job.ray
                else score_rows(scorer, kept() if draw else new, columns, job.interval)
            )
            for row in rows:
                if draw:  # first, so that no row stands without its map
                    draw(row, pictures.pop(row["image"]))
                with stop:
                    if sidecars:
                        sidecars.write(row)
                    sink.write(row)
                progress("score", sink.rows, total or 0)
    except KeyboardInterrupt as stopped:
        code = getattr(stopped, "code", 130)
    return code, (sink.rows - before) / max(time.monotonic() - started, 1e-9), before


def _sidecars(job: Job, scorer: Scorer, opened: ExitStack) -> Sidecars | None:
    """What writes the rows' sidecars, if they are asked for."""
    if job.xmp is None:
        return None
    from ._xmp import Sidecars

    return opened.enter_context(Sidecars(job.xmp, scorer, job.interval))


def _on_ray(job: Job, scorer: Scorer, entries: Any, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of entries, from Ray's workers, in the order in which they are finished."""
    from rali.scoring.on_ray import Rows, score_on_ray

    options = {"model": scorer._source, **scorer._options}
    options["threads"] = options["threads"] or 1  # Ray starts a worker per core
    gpus = any("CPU" not in str(name) for name in options["providers"] or ())
    work = Rows(options, tuple(columns), job.interval)
    pool = {"workers": job.workers, "threads": options["threads"], "gpus": int(gpus)}
    return chain.from_iterable(score_on_ray(entries, work, **pool, say=_say))


def _closing(sink: Any, before: int, speed: float, where: Path | None) -> str:
    good = sink.rows - sink.failed
    parts = [f"{good:,} scored", f"{sink.failed:,} failed"]
    parts += [f"mean {sink.total / good:.3f}"] if good else []
    parts += [f"{before:,} of them before"] if before else []
    parts += [f"{speed:,.1f} pictures/s"] if sink.rows > before else []
    return ", ".join(parts + ([f"in {where}"] if where else []))


@contextlib.contextmanager
def _sink(
    job: Job,
    scorer: Scorer,
    columns: list[str],
    settings: dict[str, Any],
    form: str,
    folder: bool,
    *,
    direct: bool,
) -> Iterator[Any]:
    """What takes the rows."""
    if folder:
        from rali.scoring.ledger import Ledger, model_partition

        assert job.output is not None
        place = model_partition(job.output, scorer.model, settings["weights"])

        ledger = Ledger(place, settings, columns, say=_say, restart=job.restart, retry=job.retry)
        with Shards(ledger) as shards:
            yield shards
    elif job.output is not None and not _is_special(job.output):
        how = {"direct": direct, "restart": job.restart, "retry": job.retry}
        with file_journal(job.output, columns, settings, form, **how) as journal:
            yield journal
    elif direct:
        with Screen(columns, form, condition(job.where)) as screen:
            yield screen
    else:
        with (
            tempfile.TemporaryDirectory() as temporary,
            Journal(Path(temporary) / "rows.jsonl", columns, "jsonl") as journal,
        ):
            yield journal


def _form(job: Job) -> tuple[str, bool]:
    """The format of the output, and whether it is a folder of shards."""
    output = job.output
    if output is None or _is_special(output):
        if job.form == "parquet":
            raise InputError("Parquet is binary and needs a file: add --output scores.parquet")
        return job.form or "table", False
    suffix = output.suffix.lower()
    if (not suffix and job.form is None) or output.is_dir():
        if job.form not in (None, "parquet"):
            raise InputError(
                f"{output} is a folder, which holds Parquet; --format {job.form} needs a file."
            )
        return "parquet", True
    by_name = SUFFIXES.get(suffix)
    known = f"Known are {', '.join(SUFFIXES)}, and a name without a suffix for a folder of shards."
    if job.form is None and by_name is None:
        raise InputError(f"{output} ends in {suffix}, which rali does not write. {known}")
    if job.form and by_name and job.form != by_name:
        raise InputError(f"{output} ends in {suffix}, but --format says {job.form}. {known}")
    return job.form or str(by_name), False


def _check(job: Job, form: str, folder: bool) -> None:
    """Refuse, before the model is opened, what cannot be done."""
    condition(job.where)
    if job.report:
        check_output(job.report, (".html", ".htm"))
    if job.ray and (not folder or job.maps):
        raise InputError(
            "--engine ray writes a folder of shards and no maps: give --output FOLDER, a name "
            "without a suffix."
        )
    if job.retry and (job.restart or job.output is None or _is_special(job.output)):
        raise InputError(
            "--retry is for an --output that is there already, without --restart, which scores "
            "everything again."
        )
    if job.xmp and (job.where or job.top or job.collects):
        raise InputError(
            "--xmp writes a sidecar beside each picture that is scored: leave --where, --top, "
            "--copy-to and --move-to out, or do that in a second command."
        )
    if job.copy_to and job.move_to:
        raise InputError("Give either --copy-to or --move-to, not both.")
    if folder:
        if job.selects or job.collects or job.report:
            raise InputError(
                "--sort, --top, --where, --copy-to, --move-to and --report are for a file or the "
                "screen; "
                f"{job.output} is a folder of shards. Give --output scores.parquet."
            )
        require("pyarrow", "data")
        assert job.output is not None
        if job.output.exists() and not job.output.is_dir():
            raise InputError(f"{job.output} is a file. Give the name of a folder.")
        check_writable(job.output if job.output.is_dir() else None)
    elif job.output is not None and not _is_special(job.output):
        check_writable(job.output)
    if form == "parquet":
        require("pyarrow", "data")
    if job.embeddings == "column" and form not in ("jsonl", "parquet"):
        raise InputError(
            "--embeddings column needs JSON lines or Parquet; beside a CSV or a table, give a "
            "file: --embeddings vectors.npy"
        )
    if job.embeddings not in (None, "column"):
        if Path(str(job.embeddings)).suffix != ".npy" or folder:
            raise InputError(
                f"--embeddings is {job.embeddings}; expected `column`, or, with a file or the "
                "screen, a name that ends in .npy."
            )
        check_writable(Path(str(job.embeddings)))


def _say(sentence: str) -> None:
    typer.echo(f"rali: {sentence}", err=True)


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _whole(path: Path, write: Callable[[Path], object]) -> None:
    replace_atomically(path, write, durable=not _is_special(path))


def leave_quietly() -> int:
    """The exit code where who read the output has gone, as after `| head`."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return 141
