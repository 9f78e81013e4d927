"""Scoring on many cores and machines through Ray Data: entries in, tables of rows out.

One task reads the sources and sends groups of entries on; a pool of workers, each with a model of
its own, scores them. Ray Data keeps the groups that wait few, starts workers as there is work, and
repeats the groups of a worker that died, so that each entry has one row. A row of Ray's own tables
is a whole group, pickled: so a group is a task, however small its entries are.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rali.errors import InputError, RaliError, require

from .rows import score_rows
from .scorer import Scorer

GROUP = 256  # entries per task: seconds of work, against a hundredth of a second that a task costs
RETRIES = 3  # of a group whose worker died


def score_on_ray(
    entries: Iterable[Any],
    make: Callable[[], Callable[[list[Any]], Any]],
    *,
    workers: tuple[int, int] = (1, 1),
    threads: int = 1,
    gpus: float = 0,
    group: int = GROUP,
) -> Iterator[Any]:
    """What each group of entries becomes, in the order in which they are finished.

    Args:
        entries: can be pickled, as each entry can; iterated once, in one worker.
        make: called in each worker; returns the function from a group to what is yielded.
        workers: at least and at most so many.
        threads: cores that each worker takes. gpus: as `threads`.
        group: entries at a time.

    Raises:
        InputError: the entries cannot be sent to a worker.
        RaliError: a worker died again and again on the same entries, or its work failed.
    """
    ray = require("ray", "scale")
    require("ray.data", "scale")
    with _ray(workers[1] * threads):
        context = ray.data.DataContext.get_current()
        context.target_max_block_size = 1  # byte: each row is a block of its own
        pool = ray.data.ActorPoolStrategy(min_size=workers[0], max_size=workers[1])
        try:
            source = pickle.dumps(entries)
        except Exception as error:
            raise InputError(f"These sources cannot be sent to Ray's workers: {error}.") from error
        groups = ray.data.read_datasource(
            _datasource(source, group), override_num_blocks=1, num_cpus=0
        )
        with warnings.catch_warnings():  # Ray has no other names for the two about dying yet
            warnings.filterwarnings("ignore", message=".*ray_remote_args")
            done = groups.map(
                _Worker,
                fn_constructor_args=[make],
                compute=pool,
                num_cpus=threads,
                num_gpus=gpus or None,
                max_restarts=-1,
                max_task_retries=RETRIES,
            )
        try:
            for row in done.iter_rows():
                found = pickle.loads(row["group"])
                if isinstance(found, _Failed):
                    raise RaliError(found.reason)
                yield found
        except ray.exceptions.RayError as error:
            raise RaliError(_reason(error)) from error


@dataclass(frozen=True)
class Rows:
    """Makes a worker's work: a `Scorer` of its own, from a group of entries to their rows.

    Args:
        options: of `Scorer`.
        columns, interval: as for `rows.score_rows`.
    """

    options: dict[str, Any]
    columns: tuple[str, ...]
    interval: float | None = None

    def __call__(self) -> Callable[[list[Any]], list[dict[str, Any]]]:
        scorer = Scorer(**self.options)
        return lambda group: list(score_rows(scorer, group, self.columns, self.interval))


class _Worker:
    def __init__(self, make: Callable[[], Callable[[list[Any]], Any]]) -> None:
        self._work = make()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            found = self._work(pickle.loads(row["group"]))
        except Exception as error:  # Ray would repeat it, and hide what it says
            found = _Failed(f"A worker stopped: {str(error) or type(error).__name__}")
        return {"group": pickle.dumps(found)}


@dataclass(frozen=True)
class _Failed:
    reason: str


def _datasource(source: bytes, size: int) -> Any:
    """A source of Ray Data with one task, which reads the entries as they are asked for."""
    import pyarrow as pa
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    def groups() -> Iterator[Any]:
        remaining = iter(pickle.loads(source))
        while group := list(islice(remaining, size)):
            yield pa.table({"group": pa.array([pickle.dumps(group)], pa.large_binary())})

    class Groups(Datasource):
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, parallelism: int, *args: Any, **kwargs: Any) -> list[Any]:
            unknown = BlockMetadata(
                num_rows=None, size_bytes=None, input_files=None, exec_stats=None
            )
            return [ReadTask(groups, unknown)]

    return Groups()


@contextmanager
def _ray(cores: int) -> Iterator[None]:
    """Ray, on the user's own cluster (`RAY_ADDRESS`) or on this machine; quiet.

    A Ray of our own has no dashboard, sends no statistics of use, and ends with the run.
    """
    import ray

    own = not ray.is_initialized() and "RAY_ADDRESS" not in os.environ
    if own:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        with _silent():  # it tells there which level of messages was set
            ray.init(
                num_cpus=cores,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what ends a run is told below
    context = ray.data.DataContext.get_current()
    before = context.copy()
    context.enable_progress_bars = context.print_on_execution_start = False
    try:
        yield
    finally:
        ray.data.DataContext._set_current(before)
        if own:
            ray.shutdown()


@contextmanager
def _silent() -> Iterator[None]:
    """Nothing on standard error, not even from a library in C++; exceptions come as ever."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _reason(error: Exception) -> str:
    """One sentence about why a run on Ray ended."""
    import ray

    causes = [error, getattr(error, "cause", None), error.__cause__]
    if any(isinstance(cause, ray.exceptions.RayActorError) for cause in causes):
        return (
            f"A worker died {RETRIES + 1} times on the same pictures, so the run ends. What is "
            "scored is kept; type the same command again to continue."
        )
    return f"Ray stopped: {str(error).strip().splitlines()[-1]}"
