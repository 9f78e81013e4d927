"""Kills real commands of rali at random moments and lets them finish.

In: a `Command`, which writes into a folder of its own and says what its result is. Out: nothing, or
an assertion: the finished result is that of a run that nobody disturbed, no process is left behind,
and nobody was shown a traceback. `RALI_FAULT_KILLS` says how many kills a command of seconds gets
(a sample without it), and `RALI_FAULT_LOG` names a file that gets one line of JSON for each.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
SAMPLE = "RALI_FAULT_KILLS" not in os.environ
LIMIT = 1800.0  # seconds after which a command hangs
GONE = 10.0  # seconds within which the children of a killed process end
_TICK = 0.003


@dataclass(frozen=True)
class Command:
    """A command, and what it leaves in the folder that it writes to.

    Attributes:
        name: for the counts.
        arguments: what follows `rali`, given that folder, which is there and empty at first.
        result: what must not depend on kills, given that folder.
        codes: exit codes of a run that finished.
        program: what Python is given before the arguments.
    """

    name: str
    arguments: Callable[[Path], Sequence[str | Path]]
    result: Callable[[Path], Any]
    codes: tuple[int, ...] = (0,)
    program: tuple[str, ...] = ("-m", "rali")

    def start(self, folder: Path) -> subprocess.Popen[str]:
        """Start it, in a session of its own."""
        folder.mkdir(parents=True, exist_ok=True)
        for number in SIGNALS[1:]:  # one that is ignored here, as under nohup, would be in there
            signal.signal(number, signal.SIG_DFL)
        arguments = [str(each) for each in self.arguments(folder)]
        return subprocess.Popen(
            [sys.executable, *self.program, *arguments],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, folder: Path) -> Any:
        """Run it to its end; its result."""
        process = self.start(folder)
        out, err = output_of(process)
        assert process.returncode in self.codes, f"{self.name}: {process.returncode}\n{out}\n{err}"
        return self.result(folder)


def output_of(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a command writes to the end; one that hangs is killed."""
    try:
        return process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def contents(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file by its name, but for locks."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock" and path.suffix != ".tmp"
    }


def scored(path: Path) -> list[tuple[Any, ...]]:
    """(picture, score, whether it failed) of each row, however it is written."""
    if path.is_dir() or path.suffix == ".parquet":
        from pyarrow import parquet

        rows = parquet.read_table(path).to_pylist()
    elif path.suffix == ".csv":
        rows = list(csv.DictReader(path.read_text("utf-8").splitlines()))
    else:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return sorted(
        (row["image"], float(row["score"]) if row["score"] else None, bool(row["error"]))
        for row in rows
    )


def kills(share: int = 1) -> int:
    """How many kills a command gets: `RALI_FAULT_KILLS`, or one where it is not set.

    Each costs about as much as an undisturbed run: the killed one, and every second time one to the
    end. So a command that takes long gets the `share`-th part.
    """
    return -(-int(os.environ.get("RALI_FAULT_KILLS", 1)) // share)


def survives(
    command: Command,
    folder: Path,
    count: int,
    *,
    seed: int = 0,
    others: Sequence[Command] = (),
) -> None:
    """Kill a command `count` times, up to three times each run, and compare what it finishes.

    Args:
        folder: an empty one for all runs.
        others: commands that are killed in the same folder in between, as with other settings.
    """
    draw = random.Random(f"{command.name} {seed}")
    started = time.monotonic()
    whole = command.finish(folder / "whole" / "out")
    seconds = time.monotonic() - started
    files = len(_files(folder / "whole" / "out"))
    run = 0
    while count > 0:
        place = folder / str(run) / "out"
        for _ in range(min(count, draw.randint(1, 3))):
            count -= _kill(draw.choice([command, *others]), place, draw, seconds, files)
        assert command.finish(place) == whole, f"{command.name} gives another result after kills"
        run += 1


def _kill(command: Command, folder: Path, draw: random.Random, seconds: float, files: int) -> bool:
    """Start the command and send it a signal; whether that is what ended it."""
    sent = draw.choice(SIGNALS)
    moment, nth = draw.uniform(0, seconds), draw.randint(1, max(1, files))
    by_file = draw.random() < 0.5
    process, started = command.start(folder), time.monotonic()
    while process.poll() is None:
        passed = time.monotonic() - started
        if (len(_files(folder)) >= nth) if by_file else (passed >= moment):
            break
        assert passed < LIMIT, f"{command.name} hangs"
        time.sleep(_TICK)
    process.send_signal(sent)  # does nothing to a process that has been waited for
    _, err = output_of(process)
    early = process.returncode in (-sent, 128 + sent)
    told = f"{command.name}, {sent.name} after {time.monotonic() - started:.2f} s"
    if early and sent is signal.SIGKILL:
        wait_for_children(process.pid, told)
    assert sent is signal.SIGKILL or not _is_up(err), f"{told}:\n{err}"
    _note(command=command.name, signal=sent.name, code=process.returncode, early=early)
    return early


def _is_up(err: str) -> bool:
    """Whether there is a traceback of rali's, not of Python's own start."""
    return "/rali/" in err.partition("Traceback")[2]


def _files(folder: Path) -> list[str]:
    return [name for _, folders, names in os.walk(folder) for name in (*folders, *names)]


def wait_for_children(session: int, told: str) -> None:
    """Assert that no process of a session is left, soon after its leader was killed."""
    end = time.monotonic() + GONE
    while left := _members(session):
        assert time.monotonic() < end, f"{told}: processes are left: {left}"
        time.sleep(0.05)


def _members(session: int) -> list[str]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(stat.parent.name)
    return found


def _note(**values: Any) -> None:
    if log := os.environ.get("RALI_FAULT_LOG"):
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
