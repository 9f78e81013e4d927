"""From nothing to one score: seconds of a cold process with the built-in scorer.

    python benchmarks/cold_start.py > benchmarks/cold_start.md

Runs an empty process and two that score a photograph in turns, and prints medians: of the wall
clock, and of the time on a core (user and system), which other programs of the machine change less.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time

import onnxruntime

from rali.pictures.samples import sample_files
from rali.version import __version__

RUNS = 15
SCORE = (
    "import sys; from rali import Scorer; print(Scorer()(sys.argv[1]));"
    "assert 'torch' not in sys.modules"
)
CASES = {
    "python -c pass": ["-c", "pass"],
    "python -c 'from rali import Scorer; print(Scorer()(…))'": ["-c", SCORE],
    "rali score one.jpg": ["-m", "rali", "score"],
}


def seconds(arguments: list[str], picture: str) -> tuple[float, float]:
    """Wall seconds and seconds on a core of one process."""
    before, started = os.times(), time.perf_counter()
    command = [sys.executable, *arguments, picture]
    subprocess.run(command, check=True, capture_output=True)
    taken, after = time.perf_counter() - started, os.times()
    user = after.children_user - before.children_user
    return taken, user + after.children_system - before.children_system


def main() -> None:
    picture = next(str(path) for path in sample_files() if path.suffix == ".jpg")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    load = os.getloadavg()[0]
    for run in range(RUNS + 1):
        for name, arguments in CASES.items():
            taken = seconds(arguments, picture)
            if run:  # the first warms the disk's cache
                times[name].append(taken)
    print("# Cold start of the built-in scorer\n")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"onnxruntime {onnxruntime.__version__}, rali {__version__}; {RUNS} runs each, in turns; "
        "a JPEG photograph of scikit-learn's. torch is not imported. Other programs' load at the "
        f"start: {load:.1f}.\n"
    )
    print("| process | on a core, median (s) | wall, median (s) | fastest | slowest |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, pairs in times.items():
        wall, core = ([pair[n] for pair in pairs] for n in (0, 1))
        middles = f"{statistics.median(core):.2f} | {statistics.median(wall):.2f}"
        print(f"| `{name}` | {middles} | {min(wall):.2f} | {max(wall):.2f} |")
    print("\nBar for `rali score one.jpg`: ≤ 1 s.", end="")
    for n, clock in enumerate(("On the wall clock", "On a core")):
        middle = statistics.median(pair[n] for pair in times["rali score one.jpg"])
        print(f" {clock}: {'met' if middle <= 1 else 'not met'}.", end="")
    print()


if __name__ == "__main__":
    main()
