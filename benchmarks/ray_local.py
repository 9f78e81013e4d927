"""`rali score` on Ray's workers beside the local engine, on the same cores and pictures.

    python benchmarks/ray_local.py [--count 2000] [--rounds 3] > benchmarks/ray_local.md

Whole processes in turns, each into a new folder of shards; the start of either is measured with ten
pictures and taken off. The scores are compared bit by bit.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import ray
from PIL import Image

from rali.pictures.read import open_picture
from rali.pictures.samples import sample_files
from rali.version import __version__

ENGINES = {"local": (), "ray": ("--engine", "ray", "--workers", str(os.cpu_count()))}
FEW = 10


def make(folder: Path, count: int) -> Path:
    """JPEG files of 512 × 384 pixels, each another crop of the photographs of every install."""
    folder.mkdir()
    photos = [Image.fromarray(open_picture(file)) for file in sample_files()]
    photos = [photo.resize((640, 480)) for photo in photos]
    draw = np.random.default_rng(0)
    for number in range(count):
        left, top = int(draw.integers(128)), int(draw.integers(96))
        crop = photos[number % len(photos)].crop((left, top, left + 512, top + 384))
        crop.save(folder / f"{number:06}.jpg", quality=90)
    return folder


def run(photos: Path, output: Path, engine: str) -> float:
    """Seconds of one command from its start to its end."""
    command = [sys.executable, "-m", "rali", "score", str(photos), "-o", str(output)]
    started = time.perf_counter()
    subprocess.run([*command, *ENGINES[engine]], check=True, capture_output=True)
    return time.perf_counter() - started


def scores(output: Path) -> dict[str, float]:
    """What a folder of shards holds."""
    table = ds.dataset(output, partitioning="hive").to_table(columns=["image", "score"])
    return dict(zip(*table.to_pydict().values(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    count, seconds, found = arguments.count, dict[tuple[str, str], list[float]](), []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        many, few = make(root / "many", count), make(root / "few", FEW)
        for turn in range(arguments.rounds):
            for engine in ENGINES:
                for name, photos in (("few", few), ("many", many)):
                    output = root / f"{engine}-{name}-{turn}"
                    taken = run(photos, output, engine)
                    seconds.setdefault((engine, name), []).append(taken)
                    print(f"{engine}, {name}: {taken:.1f} s", file=sys.stderr, flush=True)
                found.append(scores(root / f"{engine}-many-{turn}"))
    same = all(each == found[0] for each in found) and len(found[0]) == count
    rates = {
        engine: [
            (count - FEW) / (many - few)
            for few, many in zip(seconds[engine, "few"], seconds[engine, "many"], strict=True)
        ]
        for engine in ENGINES
    }
    ratio = statistics.median(
        there / here for there, here in zip(rates["ray"], rates["local"], strict=True)
    )
    whole = statistics.median(
        here / there
        for there, here in zip(seconds["ray", "many"], seconds["local", "many"], strict=True)
    )
    print("# Ray's workers beside the local engine\n")
    print(
        f"`python benchmarks/ray_local.py --count {count} --rounds {arguments.rounds}`: "
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, ray "
        f"{ray.__version__}, rali {__version__}. JPEGs of 512 × 384 pixels, into a folder of "
        f"shards; {'medians of interleaved runs' if arguments.rounds > 1 else 'one run'}.\n"
    )
    print("| engine | start and ten pictures, s | pictures/s after that |\n| --- | ---: | ---: |")
    for engine in ENGINES:
        start = statistics.median(seconds[engine, "few"])
        print(f"| {engine} | {start:.1f} | {statistics.median(rates[engine]):.1f} |")
    verdict = "are equal to the last digit" if same else "DIFFER"
    print(
        f"\nThe scores of all {len(found)} runs {verdict}. Ray's speed is {ratio:.2f} of the local "
        f"one (wanted: 0.8); with its start, over {count:,} pictures, {whole:.2f}."
    )


if __name__ == "__main__":
    main()
