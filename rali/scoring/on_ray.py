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
from typing import Any

from rali.errors import InputError, RaliError, require, shortened

from .rows import score_rows
from .scorer import Scorer, available_cores

GROUP = 256  # entries per task: seconds of work, against a hundredth of a second that a task costs
RETRIES = 3  # of a group whose worker died


def score_on_ray(
    entries: Iterable[Any],
    make: Callable[[], Callable[[list[Any]], Any]],
    *,
    workers: int | None = None,
    threads: int = 1,
    gpus: int = 0,
    group: int = GROUP,
    say: Callable[[str], object] = lambda sentence: None,
) -> Iterator[Any]:
    """What each group of entries becomes, in the order in which they are finished.

    Args:
        entries: can be pickled, as each entry can; iterated once, in one worker.
        make: called in each worker; returns the function from a group to what is yielded.
        workers: at most this many; by default as many as the cluster has room for, or one for each
            core of this machine where Ray is started here.
        threads: cores that each worker takes. gpus: as `threads`.
        group: entries at a time.
        say: told in a sentence how many workers there may be.

    Raises:
        InputError: the entries cannot be sent to a worker, or no machine has room for one.
        RaliError: a worker died again and again on the same entries, its work failed, or the
            entries could not be read to their end.
    """
    ray = require("ray", "scale")
    require("ray.data", "scale")
    with _ray((workers or available_cores()) * threads, say) as own:
        room, machines = _room(threads, gpus)
        most = workers or room
        where = "this machine" if own else f"{machines:,} machine{'s' * (machines != 1)}"
        say(
            f"Ray has at most {most:,} worker{'s' * (most != 1)} on {where}, with {threads} "
            f"core{'s' * (threads != 1)} each."
        )
        context = ray.data.DataContext.get_current()
        context.target_max_block_size = 1  # byte: each row is a block of its own
        pool = ray.data.ActorPoolStrategy(min_size=1, max_size=most)
        try:
            source = pickle.dumps(entries)
        except Exception as error:
            raise InputError(f"These sources cannot be sent to Ray's workers: {error}.") from error
        # Put beside the task: keys that are done, and lists, may be gigabytes.
        groups = ray.data.read_datasource(
            _datasource(ray.put(source), group), override_num_blocks=1, num_cpus=0
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
        ended = ""
        try:
            for row in done.iter_rows():
                found = pickle.loads(row["group"])
                if not isinstance(found, _Failed):
                    yield found
                elif found.of_sources:  # what was found before is still being scored
                    ended = found.reason
                else:
                    raise RaliError(found.reason)
        except ray.exceptions.RayError as error:
            raise RaliError(_reason(error)) from error
        if ended:
            raise RaliError(ended)


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
        group = pickle.loads(row["group"])
        if isinstance(group, _Failed):
            return row
        try:
            found = self._work(group)
        except Exception as error:  # Ray would repeat it, and hide what it says
            found = _Failed(f"A worker stopped: {str(error) or type(error).__name__}")
        return {"group": pickle.dumps(found)}


@dataclass(frozen=True)
class _Failed:
    """In place of a group, or of what it becomes: why the run must end.

    Attributes:
        of_sources: whether the entries could not be read further; their last groups are good.
    """

    reason: str
    of_sources: bool = False


def _datasource(source: Any, size: int) -> Any:
    """A source of Ray Data with one task, which reads the entries as they are asked for."""
    import pyarrow as pa
    import ray
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    def row(group: Any) -> Any:
        return pa.table({"group": pa.array([pickle.dumps(group)], pa.large_binary())})

    def groups() -> Iterator[Any]:
        group, failed = list[Any](), None
        try:
            for entry in pickle.loads(ray.get(source)):
                group.append(entry)
                if len(group) == size:
                    yield row(group)
                    group = []
        except RaliError as error:
            failed = _Failed(str(error), of_sources=True)
        if group:
            yield row(group)
        if failed:
            yield row(failed)

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
def _ray(cores: int, say: Callable[[str], object]) -> Iterator[bool]:
    """Ray, on the user's own cluster (initialised, or `RAY_ADDRESS`) or on this machine; quiet.

    A Ray of our own has no dashboard, sends no statistics of use, and ends with the run. Yields
    whether it is one.
    """
    import ray

    joins = not ray.is_initialized()
    own = joins and not os.environ.get("RAY_ADDRESS")
    if joins:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        if not own:  # Ray looks for minutes for one that is not there
            say(f"Joining the Ray at {os.environ['RAY_ADDRESS']}.")
        # "local": else it would join a cluster that happens to run on this machine.
        new: dict[str, Any] = {"address": "local", "num_cpus": cores, "include_dashboard": False}
        try:
            with _silent():  # it tells there which level of messages was set
                ray.init(**(new if own else {}), log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            if own:
                raise
            raise InputError(
                f"There is no Ray at RAY_ADDRESS={os.environ['RAY_ADDRESS']}, or it wants the "
                f"token of its machines (RAY_AUTH_TOKEN): {shortened(error).rstrip('.')}."
            ) from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what ends a run is told below
    context = ray.data.DataContext.get_current()
    before = context.copy()
    context.enable_progress_bars = context.print_on_execution_start = False
    try:
        yield own
    finally:
        ray.data.DataContext._set_current(before)
        if joins:
            ray.shutdown()


def _room(threads: int, gpus: int) -> tuple[int, int]:
    """How many workers the machines of Ray have room for, and how many machines these are.

    Raises:
        InputError: none has room for one.
    """
    import ray

    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    rooms = [int(each.get("CPU", 0)) // threads for each in found]
    if gpus:
        held = [int(each.get("GPU", 0)) // gpus for each in found]
        rooms = list(map(min, rooms, held))
    if not any(rooms):
        most = max((int(each.get("CPU", 0)) for each in found), default=0)
        needs = f"{threads} core{'s' * (threads != 1)}" + (" and a GPU" if gpus else "")
        raise InputError(
            f"A worker takes {needs}, and no machine of this Ray has that (the most cores are "
            f"{most}). Give fewer --threads" + (", or leave --provider out." if gpus else ".")
        )
    return sum(rooms), sum(map(bool, rooms))


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
