"""What `rali score --engine ray` does in one place, measured: reading, writing and resuming.

However many workers there are, one task goes through the sources and one process takes the rows and
writes them. Times are of the processor and the least of several, so that other programs disturb
them little.
"""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import random
import subprocess
import sys
import tarfile
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sources import make

from rali.cli._bar import scoring_bar
from rali.cli._resume import Shards
from rali.cli._stop import stoppable
from rali.pictures.sources import find_entries
from rali.scoring.keys import Keys
from rali.scoring.ledger import Ledger
from rali.scoring.on_ray import GROUP, score_on_ray

READ, WRITTEN = 20_000, 200_000  # pictures
KINDS = {"folder": "a folder", "txt": "`@list.txt`", "tar": "a tar", "zip": "a zip"}
REMOTE = (1_000, 150_000)  # pictures in a tar at an address, and their bytes
WARM, TASKS = 300, 2_000  # groups that Ray hands out: before the clock starts, and after
TURNS = 4
_SETTINGS = {"weights": "0" * 64}
_COLUMNS = ("image", "score", "error")


@dataclass(frozen=True)
class Costs:
    """Seconds of a processor in one place.

    Attributes:
        reader: per picture, by the source: found, compared with what is done, and packed for Ray.
        driver: per picture: unpacked and written into shards of 10,000 rows.
        task: per group of pictures: what Ray takes in the process that writes; None without Ray.
        opened: per row, when an output is opened again. key, peak: bytes per row then, of the keys
            as they are kept, and while they are sorted.
    """

    reader: dict[str, float]
    driver: float
    task: float | None
    opened: float
    key: float
    peak: float


def measure() -> Costs:
    """All of them; a minute or two."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reader = {
            spoken: _reader("@" * (kind == "txt") + str(make(kind, READ, folder)))
            for kind, spoken in KINDS.items()
        }
        reader["a tar over HTTP"] = _over_http(folder)
        return Costs(reader, _driver(folder), _task(), *_opened(folder))


def least(work: Callable[[], int]) -> float:
    """Seconds of the processor per thing that is done, in the best of the turns."""
    found = []
    for _ in range(TURNS):
        start = time.process_time()
        count = work()
        found.append((time.process_time() - start) / count)
    return min(found)


def _reader(source: str) -> float:
    """Seconds per picture to find the source's pictures and to pack them in groups."""
    import pyarrow as pa

    done = Keys(map(str, range(1000)))  # as of a run that resumes

    def read() -> int:
        count = 0
        remaining = (entry for entry in find_entries([source]) if entry.key not in done)
        while group := list(islice(remaining, GROUP)):
            pa.table({"group": pa.array([pickle.dumps(group)], pa.large_binary())})
            count += len(group)
        return count

    return least(read)


def _over_http(folder: Path) -> float:
    """Seconds per picture of a tar whose bytes come from a server on this machine."""
    count, size = REMOTE
    with tarfile.open(folder / "remote.tar", "w") as archive:
        for number in range(count):
            info = tarfile.TarInfo(f"{number:06d}.jpg")
            info.size = size
            archive.addfile(info, io.BytesIO(bytes(size)))
    code = (
        "from http.server import *; import functools, sys\n"
        "kind = functools.partial(SimpleHTTPRequestHandler, directory=sys.argv[1])\n"
        "server = ThreadingHTTPServer(('127.0.0.1', 0), kind)\n"
        "print(server.server_address[1], flush=True); server.serve_forever()"
    )
    command = [sys.executable, "-c", code, str(folder)]
    serving = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert serving.stdout
        port = int(serving.stdout.readline())
        return _reader(f"http://127.0.0.1:{port}/remote.tar")
    finally:
        serving.kill()
        serving.wait()


def _rows(count: int) -> Iterable[dict[str, Any]]:
    draw = random.Random(0)
    for _ in range(count):
        name = f"crawl/{draw.randrange(10**5):05d}/{draw.getrandbits(64):016x}.jpg"
        yield {"image": name, "score": round(draw.uniform(1, 5), 6), "error": None}


def _driver(folder: Path) -> float:
    """Seconds per picture to unpack rows and to write them into shards."""
    rows = iter(_rows(WRITTEN))
    packed = []
    while group := list(islice(rows, GROUP)):
        packed.append(pickle.dumps(group))

    def write() -> int:
        ledger = Ledger(folder / "out", _SETTINGS, _COLUMNS, restart=True)
        with stoppable() as stop, Shards(ledger) as shards, scoring_bar() as progress:
            for group in packed:
                for row in pickle.loads(group):  # as in `rali.cli._score`
                    with stop:
                        shards.write(row)
                    progress("score", shards.rows, 0)
        return WRITTEN

    return least(write)


def _opened(folder: Path) -> tuple[float, float, float]:
    """Seconds per row to open what `_driver` wrote; bytes per key, kept and at the peak."""

    def open_again() -> int:
        with Ledger(folder / "out", _SETTINGS, _COLUMNS) as ledger:
            return len(ledger.done)

    seconds = least(open_again)
    names = [row["image"] for row in _rows(WRITTEN)]
    tracemalloc.start()
    keys = Keys(names)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(keys) == WRITTEN
    return seconds, kept / WRITTEN, peak / WRITTEN


def _task() -> float | None:
    """Seconds that a group of pictures takes Ray in the process that writes the rows."""
    try:
        import ray.data  # noqa: F401
    except ImportError:
        return None
    nothing: Callable[[], Callable[[list[int]], Any]] = functools.partial(functools.partial, len)
    done = score_on_ray(range(WARM + TASKS), nothing, workers=1, group=1)
    for _ in islice(done, WARM):
        pass
    seconds = least(lambda: sum(1 for _ in islice(done, TASKS // TURNS)))
    done.close()  # type: ignore[attr-defined]
    return seconds


def main() -> None:
    print(json.dumps({**measure().__dict__, "load": os.getloadavg()[0]}, indent=1))


if __name__ == "__main__":
    main()
