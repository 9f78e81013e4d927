"""Nonsense for everything that reads what others wrote: a result, or an error of rali's own.

    python benchmarks/fuzz.py [--minutes 25] [--seed 0]        # resumes; writes benchmarks/fuzz.md
    python benchmarks/fuzz.py --show "triplets" 4711           # one input, and what becomes of it

Each input is named by its target, the seed and its number. A process of its own reads one after
the other and is watched: when it dies, or takes more than 10 seconds of a core (or two minutes of
the clock) for one, the input is a finding and a new process begins behind it. It may have 6 GiB of
memory, and what it holds more at its end than after its first second is what leaks. Counts add up
in benchmarks/fuzz.json.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import platform
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HANGS, WAITS = 10.0, 120.0  # seconds of a core, and of the clock, for one input
TURN = 180.0  # seconds of one process
MEMORY = 6 * 2**30
MENDED = """
What it found at first is mended, and is a test with its input:

| target | ended in another error, or a wrong result | now |
| --- | --- | --- |
| model folders, ONNX metadata | JSON nested too deep; numbers beyond a float | refused |
| model folders | an interval of a narrower range: its low end above its high end | in order |
| model folders | phrases that are no finite numbers, or behind a password | refused |
| model folders | a `score_range` that is no list | refused |
| ONNX metadata | a size that is not the input's, or that no memory holds | refused |
| manifests, triplets | Parquet text that is not UTF-8 | refused |
| manifests | two Parquet columns of one name, of which the last counted | refused |
| triplets | columns of another type, empty cells where a value must be | refused |
"""


def held() -> float:
    """MiB of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * mmap.PAGESIZE / 2**20


def read_on(name: str, seed: int, number: int, seconds: float, place: Path) -> None:
    """In a process of its own: read one input after the other, and print what became of them."""
    from fuzz_targets import TARGETS

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    with place.open("r+b") as file, tempfile.TemporaryDirectory(dir=place.parent) as folder:
        shared = mmap.mmap(file.fileno(), 8)
        target = TARGETS[name](Path(folder))
        counts: Counter[str] = Counter()
        findings: list[tuple[int, str]] = []
        started = told = time.monotonic()
        first = 0.0
        while (now := time.monotonic()) - started < seconds:
            shared[:] = number.to_bytes(8, "little")
            draw = random.Random(f"{name} {seed} {number}")
            try:
                counts["read" if target.try_out(target.make(draw)) else "refused"] += 1
            except BaseException as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                text = str(error).partition("\n")[0][:120]
                what = f"{type(error).__name__} in {Path(where.filename).name}: {text}"
                findings.append((number, what))
                counts["finding"] += 1
            number += 1
            first = first or (held() if now - started > min(1.0, seconds / 2) else 0.0)
            if now - told > 0.5:
                print(json.dumps([number, counts, findings, first, held()]), flush=True)
                told, findings = now, []
                counts.clear()
        print(json.dumps([number, counts, findings, first, held()]), flush=True)


def watch(name: str, seed: int, number: int, seconds: float, state: dict[str, Any]) -> int:
    """Run `read_on` for some seconds, or until it dies; returns the next number."""
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        place, out, said = (Path(folder) / name for name in ("number", "out", "said"))
        place.write_bytes(number.to_bytes(8, "little"))
        options = ["--child", name, str(number), str(seconds), str(place)]
        command = [sys.executable, "-X", "faulthandler", __file__, "--seed", str(seed), *options]
        with out.open("wb") as file, said.open("wb") as err:  # decoders say more than a pipe holds
            process = subprocess.Popen(command, stdout=file, stderr=err)
            last, since, spent, hung = -1, time.monotonic(), 0.0, False
            while process.poll() is None:
                time.sleep(0.1)
                now = int.from_bytes(place.read_bytes(), "little")
                if now != last:
                    last, since, spent = now, time.monotonic(), _processor_time(process.pid)
                busy = _processor_time(process.pid) - spent
                # Before the first is read, everything is imported.
                if time.monotonic() - since > WAITS or (busy > HANGS and now != number):
                    hung = True
                    process.send_signal(signal.SIGABRT)  # faulthandler says where it was
                    process.wait()
        for line in out.read_text("utf-8").splitlines():
            reached, counts, findings, first, last_held = json.loads(line)
            state["counts"] = dict(Counter(state["counts"]) + Counter(counts))
            state["findings"] += findings
            number = reached
            if first:
                grown = round(last_held - first)
                state["grown"] = max(state["grown"], grown)
        if process.returncode:
            dead = int.from_bytes(last.to_bytes(8, "little", signed=True), "little")
            what = f"more than {HANGS:g} s" if hung else f"exit {process.returncode}"
            lines = said.read_text("utf-8", "replace").splitlines()
            told = [each for each in lines if each.strip()][-12:]
            state["findings"].append([dead, f"{what}: {' / '.join(told)[:600]}"])
            state["counts"]["finding"] = state["counts"].get("finding", 0) + 1
            number = max(number, dead) + 1
    return number


def _processor_time(pid: int) -> float:
    """Seconds of a core that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def fuzz(minutes: float, seed: int, names: list[str], states: dict[str, Any], save: Any) -> None:
    """Give each target its share of the minutes, in turns."""
    share = 60 * minutes / len(names)
    for name in names:
        state = states.setdefault(
            name, {"next": 0, "seconds": 0.0, "counts": {}, "findings": [], "grown": 0}
        )
        left = share
        while left > 0.5:
            started = time.monotonic()
            state["next"] = watch(name, seed, state["next"], min(left, TURN), state)
            taken = time.monotonic() - started
            left -= taken
            state["seconds"] = round(state["seconds"] + taken, 1)
            save()


def page(states: dict[str, Any], seed: int) -> str:
    total = sum(sum(state["counts"].values()) for state in states.values())
    found = sum(len(state["findings"]) for state in states.values())
    minutes = sum(state["seconds"] for state in states.values()) / 60
    lines = [
        "# Nonsense for everything that reads\n",
        f"`python benchmarks/fuzz.py --seed {seed}`: {platform.machine()}, Python "
        f"{platform.python_version()}, {minutes:.0f} minutes beside others, resumed as often "
        "as needed.\n",
        f"**{total:,} inputs, {found} findings**: a finding is an error that is not rali's, a "
        "crash, a hang of more than\n10 s of a core, a wrong result (as an invented score) or more "
        "than 6 GiB of memory. The bar is\n1,000,000 inputs without one. Memory is the most that a "
        "process of up to three minutes held more\nat its end than after its first second.\n",
        "| target | inputs | read | refused | findings | inputs/s | memory, MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, state in states.items():
        counts = state["counts"]
        number = sum(counts.values())
        lines.append(
            f"| {name} | {number:,} | {counts.get('read', 0):,} | {counts.get('refused', 0):,} | "
            f"{len(state['findings'])} | {number / state['seconds']:,.0f} | {state['grown']:+d} |"
        )
    kinds: dict[tuple[str, str], list[int]] = {}
    for name, state in states.items():
        for number, what in state["findings"]:
            kinds.setdefault((name, what.partition(":")[0]), []).append(number)
    if kinds:
        lines += ["\n| finding | inputs | the first |", "| --- | ---: | ---: |"]
    for (name, what), numbers in kinds.items():
        lines.append(f"| {name}: {what} | {len(numbers)} | {numbers[0]} |")
    return "\n".join([*lines, MENDED])


def show(name: str, number: int, seed: int) -> None:
    from fuzz_targets import TARGETS

    with tempfile.TemporaryDirectory() as folder:
        target = TARGETS[name](Path(folder))
        given = target.make(random.Random(f"{name} {seed} {number}"))
        print(repr(given)[:4000])
        print(target.try_out(given))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="targets; all by default")
    parser.add_argument("--state", type=Path, default=HERE / "fuzz.json", help="where counts are")
    parser.add_argument("--page", type=Path, default=HERE / "fuzz.md")
    parser.add_argument("--show", nargs=2, metavar=("TARGET", "NUMBER"))
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, number, seconds, place = args.child
        read_on(name, args.seed, int(number), float(seconds), Path(place))
        os._exit(0)  # an abort in a library's own ending would count as the last input's
    if args.show:
        show(args.show[0], int(args.show[1]), args.seed)
        return 0
    from fuzz_targets import TARGETS

    states = json.loads(args.state.read_text("utf-8")) if args.state.is_file() else {}

    def save() -> None:
        args.state.write_text(json.dumps(states, indent=1) + "\n", "utf-8")
        args.page.write_text(page(states, args.seed), "utf-8")

    fuzz(args.minutes, args.seed, args.only or list(TARGETS), states, save)
    print(args.page.read_text("utf-8"))
    return int(any(state["findings"] for state in states.values()))


if __name__ == "__main__":
    raise SystemExit(main())
