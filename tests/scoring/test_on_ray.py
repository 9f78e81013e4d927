"""Scoring through a real Ray: every entry once, whatever dies, and no more memory than it takes."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rali.errors import InputError, RaliError
from rali.scoring.on_ray import score_on_ray

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'rali[scale]'")
pytest.importorskip("ray.data")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A Ray that serves all tests here, as a user's own would."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": paths}},
    )
    yield
    ray.shutdown()


@dataclass(frozen=True)
class Numbers:
    """Entries that note how far they were read, and may end in the middle."""

    count: int
    note: Path
    broken: int = -1

    def __iter__(self) -> Iterator[int]:
        for number in range(self.count):
            if number == self.broken:
                raise InputError("The archive cannot be read: The server answered 503.")
            if number % 100 == 0:
                self.note.write_text(str(number))
            yield number


@dataclass(frozen=True)
class Make:
    """Makes work that takes a while, says which process did it, and may be deadly."""

    seconds: float = 0.0
    deadly: int = -1
    wrong: int = -1

    def __call__(self) -> Any:
        def work(group: list[int]) -> tuple[int, list[int]]:
            time.sleep(self.seconds)
            if self.deadly in group:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.wrong in group:
                raise InputError("This picture is wrong.")
            return os.getpid(), group

        return work


def test_a_killed_worker_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    entries = Numbers(400, tmp_path / "note")
    found: Counter[int] = Counter()
    done: Counter[int] = Counter()
    killed = 0
    for pid, group in score_on_ray(entries, Make(0.05), workers=2, group=10):
        found.update(group)
        done[pid] += 1
        if done[pid] == 3 and killed < 2:  # two workers, in the midst of their work
            os.kill(pid, signal.SIGKILL)
            killed += 1
    assert killed == 2
    assert found == Counter(range(400))


def test_entries_are_read_as_they_are_needed(tmp_path: Path) -> None:
    note = tmp_path / "note"
    results = score_on_ray(Numbers(1_000_000, note), Make(), workers=1, group=10)
    for _, _ in zip(range(20), results, strict=False):
        pass
    assert int(note.read_text()) < 20_000
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("make", "words"),
    [(Make(deadly=17), "died"), (Make(wrong=17), "This picture is wrong")],
)
def test_what_cannot_be_done_ends_the_run(tmp_path: Path, make: Make, words: str) -> None:
    with pytest.raises(RaliError, match=words):
        list(score_on_ray(Numbers(40, tmp_path / "note"), make, workers=1, group=10))


def test_what_cannot_be_sent_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be sent to Ray's workers"):
        next(iter(score_on_ray((number for number in range(3)), Make())))


def test_sources_that_end_in_the_middle_end_the_run(tmp_path: Path) -> None:
    entries = Numbers(40, tmp_path / "note", broken=25)
    found = []
    with pytest.raises(RaliError, match=r"^The archive cannot be read: The server answered 503.$"):
        for _, group in score_on_ray(entries, Make(), workers=1, group=10):
            found += group
    assert sorted(found) == list(range(25))  # all that were found before, the broken group too


def test_there_are_as_many_workers_as_the_cluster_has_room_for(tmp_path: Path) -> None:
    class EnoughError(Exception):
        """Told how many, the run is not needed."""

    def say(sentence: str) -> None:
        said.append(sentence)
        raise EnoughError

    entries, said = Numbers(10, tmp_path / "note"), list[str]()
    for workers, threads in ((None, 1), (None, 2), (7, 1)):
        with pytest.raises(EnoughError):
            list(score_on_ray(entries, Make(), workers=workers, threads=threads, say=say))
    assert said == [
        "Ray has at most 2 workers on 1 machine, with 1 core each.",
        "Ray has at most 1 worker on 1 machine, with 2 cores each.",
        "Ray has at most 7 workers on 1 machine, with 1 core each.",
    ]
    with pytest.raises(
        InputError, match=r"takes 3 cores, .* \(the most cores are 2\)\. Give fewer"
    ):
        list(score_on_ray(entries, Make(), threads=3))
    with pytest.raises(InputError, match=r"takes 1 core and a GPU, .* or leave --provider out\.$"):
        list(score_on_ray(entries, Make(), gpus=1))
