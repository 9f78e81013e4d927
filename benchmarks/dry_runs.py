"""Wall seconds of every teacher recipe's dry run from nothing, and its batch in words.

    python benchmarks/dry_runs.py > benchmarks/dry_runs.md

Each runs three times, in an empty folder with an empty cache of the Hub and without a network.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time

from rali.recipes import find_recipe, recipes
from rali.runs.config import read_yaml
from rali.version import __version__

RUNS = 3
NO_NETWORK = ["unshare", "--net"]  # where Linux lets this user


def dry_run(command: str, name: str, apart: list[str]) -> tuple[float, str]:
    """Wall seconds of one process, and the sentence about its batch."""
    words = ["-m", "rali", "teach", command, "--config", name, "-o", "run", "--dry-run"]
    with tempfile.TemporaryDirectory() as folder:
        alone = os.environ | {"HF_HOME": folder, "HF_ENDPOINT": "http://127.0.0.1:9"}
        run = {"capture_output": True, "text": True, "cwd": folder, "env": alone}
        begin = time.perf_counter()
        done = subprocess.run([*apart, sys.executable, *words], **run)
        taken = time.perf_counter() - begin
    if "rali: There is no file or folder at" not in done.stderr:
        raise SystemExit(f"{name} ended otherwise:\n{done.stderr}")
    return taken, next(line for line in done.stdout.splitlines() if " per step, " in line)


def main() -> None:
    tried = subprocess.run([*NO_NETWORK, "true"], capture_output=True)
    apart = [] if tried.returncode else NO_NETWORK
    print(
        "# Dry runs of the teachers' recipes\n\n"
        f"`python benchmarks/dry_runs.py`: {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, rali {__version__}; {RUNS} processes each, in an empty "
        f"folder, {'without any network' if apart else 'the Hub out of reach'}. Other programs' "
        f"load at the start: {os.getloadavg()[0]:.1f}.\n\n"
        "| recipe | slowest (s) | its batch, as it says it |\n| --- | ---: | --- |"
    )
    slowest = []
    for name in recipes():
        keys = read_yaml(find_recipe(name)).keys()
        if command := "train" if "tasks" in keys else "sft" if "sources" in keys else "":
            runs = [dry_run(command, name, apart) for _ in range(RUNS)]
            slowest.append(max(taken for taken, _ in runs))
            print(f"| `{name}` | {slowest[-1]:.1f} | {runs[0][1]} |", flush=True)
    print(f"\nBar: ≤ 5 s on the wall clock. {'Met' if max(slowest) <= 5 else 'Not met'}.")


if __name__ == "__main__":
    main()
