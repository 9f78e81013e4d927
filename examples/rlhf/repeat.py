"""Repeat a training from several seeds: does the reward rise beyond chance?

    python examples/rlhf/repeat.py policy_gradient.py runs/rlhf/generator --real PHOTOGRAPHS \\
        -o runs/rlhf/policy --runs 3 --updates 40

Options that it does not know go to the program. Finished runs are kept. For each measure it prints
the mean change and its 95 % interval (Student's t, over runs), and writes them to OUTPUT/repeat.md.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
from scipy import stats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    arguments, others = parser.parse_known_args()
    if arguments.runs < 2:
        parser.error(f"--runs {arguments.runs}: an interval needs two runs or more.")
    arguments.output.mkdir(parents=True, exist_ok=True)
    asked, record = shlex.join([arguments.program, *others]), arguments.output / "asked.txt"
    if record.is_file() and (was := record.read_text("utf-8")) != asked:
        parser.error(f"{arguments.output} holds runs of {was}; take another --output for {asked}.")
    record.write_text(asked, "utf-8")
    found = []
    for seed in range(arguments.runs):
        output = arguments.output / f"seed-{seed}"
        result = output / "result.json"
        if not result.is_file():
            program = Path(__file__).with_name(arguments.program)
            command = [sys.executable, program, *others, "-o", output, "--seed", str(seed)]
            subprocess.run(command, check=True)
        found.append(json.loads(result.read_text("utf-8")))
    table = "| | before | after | change | 95 % interval |\n| --- | ---: | ---: | ---: | ---: |\n"
    for name in found[0]["before"]:
        before, after = (
            np.array([run[when][name] for run in found]) for when in ("before", "after")
        )
        change = after - before
        half = stats.t.ppf(0.975, len(change) - 1) * stats.sem(change)
        table += (
            f"| {name} | {before.mean():.3f} | {after.mean():.3f} | {change.mean():+.3f} | "
            f"{change.mean() - half:+.3f} to {change.mean() + half:+.3f} |\n"
        )
    (arguments.output / "repeat.md").write_text(table, "utf-8")
    print(table)


if __name__ == "__main__":
    main()
