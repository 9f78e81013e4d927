"""Make the built-in and every page that quotes it, from photographs to Markdown.

    python recipes/weights/remake.py --data DIR [-o runs/builtin] [--only STEP ...]

DIR holds `biq2021/`, `biq2021_more/`, `pristine/` and `pcuid/`. Each step is a command, shown
before it is run; its seconds are kept in steps.json, and a step that is done is not run again. A
stopped step is run again by the same command and resumes where it can. `make builtin DATA=DIR`
does the same after setting up the environment.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
HUGE_PAGES = {  # large tensors are given back and taken again each step, which costs a third
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=17179869184:"
    "glibc.malloc.trim_threshold=17179869184:glibc.malloc.top_pad=268435456"
}


@dataclass(frozen=True)
class Step:
    """One command; `page` is the file that what it prints is written to."""

    name: str
    command: tuple[str, ...]
    page: Path | None = None


def steps(data: Path, runs: Path) -> list[Step]:
    """All steps, in order."""
    made, first, second = runs / "data", runs / "first", runs / "second"
    manifests = [str(made / f"{n}.csv") for n in ("biq2021", "degraded", "composed", "patterns")]
    weights, given = "recipes/weights", ("--data", str(data))

    def script(name: str, *words: str) -> Step:
        return Step(Path(name).stem, (sys.executable, name, *words))

    def rali(name: str, *words: str, page: Path | None = None) -> Step:
        return Step(name, (str(Path(sys.executable).parent / "rali"), *words), page)

    return [
        script(f"{weights}/builtin_data.py", *given, "-o", str(made)),
        rali("first", "distill", *manifests, "--config", "builtin", "--count", "4", "--no-export",
             "-o", str(first)),
        rali("second", "distill", *manifests, "--config", "builtin-again", "--pretrained",
             str(first / "model"), "--no-export", "-o", str(second)),
        script(f"{weights}/make_builtin.py", *given, "--run", str(second)),
        script(f"{weights}/builtin_phrases.py", *given),
        rali("calibrate", "calibrate", "rali/builtin", manifests[0], "--split", "val"),
        script("benchmarks/explanations.py", *given),
        script("benchmarks/explained.py", *given),
        script("benchmarks/intervals.py", *given),
        script("benchmarks/probes.py", *given),
        script("benchmarks/whole_picture.py", *given),
        script("benchmarks/rewards.py", "--photographs", str(data / "biq2021" / "images")),
        script("benchmarks/quickstart_kodak.py", *given),
        script("benchmarks/server.py", "--photographs", str(data / "pristine"), "--minutes", "2"),
        rali("device", "bench", "builtin", "--precision", "fp32", "--precision", "int8",
             "--manifest", manifests[0], "--split", "test", "--photographs", str(runs / "kodak"),
             page=ROOT / "benchmarks" / "device.md"),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/builtin"))
    parser.add_argument("--only", nargs="+", metavar="STEP", help="run these again")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    _link_kodak(arguments.data.resolve(), arguments.output / "kodak")
    log = arguments.output / "steps.json"
    seconds: dict[str, float] = json.loads(log.read_text()) if log.is_file() else {}
    todo = steps(arguments.data.resolve(), arguments.output.resolve())
    if unknown := set(arguments.only or ()) - {step.name for step in todo}:
        parser.error(f"no steps {sorted(unknown)}; there are {[step.name for step in todo]}")
    for step in todo:
        if step.name in seconds and step.name not in (arguments.only or ()):
            print(f"{step.name}: done before, in {seconds[step.name]:.0f} seconds")
            continue
        if arguments.only and step.name not in arguments.only:
            continue
        print(f"{step.name}: {shlex.join(step.command)}", flush=True)
        start = time.monotonic()
        printed = subprocess.PIPE if step.page else None
        done = subprocess.run(
            step.command, cwd=ROOT, check=True, env=os.environ | HUGE_PAGES, stdout=printed
        )
        if step.page:
            command = shlex.join(Path(word).name if "/" in word else word for word in step.command)
            step.page.write_bytes(f"`{command}`\n\n".encode() + done.stdout)
        seconds[step.name] = round(time.monotonic() - start, 1)
        log.write_text(json.dumps(seconds, indent=1) + "\n")
    for name, taken in seconds.items():
        print(f"{taken / 60:7.1f} min  {name}")


def _link_kodak(data: Path, folder: Path) -> None:
    """A folder of Kodak's photographs alone, for the commands that take a folder."""
    folder.mkdir(exist_ok=True)
    for path in (data / "pristine").glob("kodak*.jpg"):
        if not (folder / path.name).exists():
            (folder / path.name).symlink_to(path)


if __name__ == "__main__":
    main()
