"""From nothing to one score: wall seconds of a cold process with the built-in scorer.

    python benchmarks/cold_start.py > benchmarks/cold_start.md

Runs an empty process and one that scores a photograph in turns, and prints medians.
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
CASES = {"python -c pass": "pass", "python -c 'from rali import Scorer; print(Scorer()(…))'": SCORE}


def seconds(code: str, picture: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, picture], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    picture = next(str(path) for path in sample_files() if path.suffix == ".jpg")
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for run in range(RUNS + 1):
        for name, code in CASES.items():
            taken = seconds(code, picture)
            if run:  # the first warms the disk's cache
                times[name].append(taken)
    print("# Cold start of the built-in scorer\n")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"onnxruntime {onnxruntime.__version__}, rali {__version__}; {RUNS} runs each, in turns; "
        "a JPEG photograph of scikit-learn's. torch is not imported.\n"
    )
    print("| process | median (s) | fastest | slowest |\n| --- | ---: | ---: | ---: |")
    for name, taken in times.items():
        middle = statistics.median(taken)
        print(f"| `{name}` | {middle:.2f} | {min(taken):.2f} | {max(taken):.2f} |")
    print("\nBar: ≤ 1 s.")


if __name__ == "__main__":
    main()
