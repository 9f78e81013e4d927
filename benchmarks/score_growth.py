"""`rali score` from 10³ to 10⁵ pictures, or 10⁶: time, peak memory, and what writing rows costs.

    python benchmarks/score_growth.py > benchmarks/score_growth.md
    python benchmarks/score_growth.py --kinds folder --most 1000000 --rounds 0

Growth: real commands with a model of nine weights over pictures of 16 pixels, so that rows, ledger
and sources are most of the work; processor time, and the process's peak. Cost: the built-in over
photographs of 512 pixels, interleaved, against `Scorer.score_many` alone.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from rali.pictures.samples import sample_files
from rali.version import __version__

sys.path.append(str(Path(__file__).parent.parent / "tests"))  # its smallest model

from tiny_onnx import write_model

COUNTS = (1_000, 10_000, 100_000, 1_000_000)
KINDS = ("folder", "tar", "parquet")
OUTPUTS = {"CSV": "rows.csv", "shards": "rows"}
PEAK = """
import re, sys
from pathlib import Path
sys.argv = ["rali", *sys.argv[1:]]
from rali.cli import main
try:
    main()
finally:
    print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""
ALONE = """
import sys, time
from rali.pictures.sources import find_entries
from rali.scoring.scorer import Scorer
started = time.process_time()
scorer, entries = Scorer(), find_entries([sys.argv[1]])
count = sum(result.score is not None for result in scorer.score_many(entries))
print(count, time.process_time() - started)
"""
WRITING = """
import sys, time
from rali.cli import _score
own = _score._run
def timed(*given):
    started = time.process_time()
    code = own(*given)
    print("seconds", time.process_time() - started)
    return code
_score._run = timed
sys.argv = ["rali", "score", *sys.argv[1:]]
from rali.cli import main
main()
"""


def make(kind: str, count: int, folder: Path) -> Path:
    """A source of so many PNG pictures of 16 pixels."""
    pictures = []
    for level in range(256):
        file = io.BytesIO()
        Image.fromarray(np.full((16, 16, 3), level, np.uint8)).save(file, "PNG")
        pictures.append(file.getvalue())
    place = folder / f"{count}.{kind}"
    names = (f"p{number}.png" for number in range(count))
    if kind == "folder":
        place.mkdir()
        for number, name in enumerate(names):
            (place / name).write_bytes(pictures[number % 256])
    elif kind == "tar":
        with tarfile.open(place, "w") as archive:
            for number, name in enumerate(names):
                info = tarfile.TarInfo(name)
                info.size = len(pictures[number % 256])
                archive.addfile(info, io.BytesIO(pictures[number % 256]))
                archive.members.clear()
    else:
        schema = pa.schema([("image", pa.binary())])
        with parquet.ParquetWriter(place, schema) as writer:
            for start in range(0, count, 1000):
                cells = [pictures[number % 256] for number in range(start, start + 1000)]
                writer.write_table(pa.table({"image": cells}, schema))
    return place


def score(source: Path, output: Path, model: Path) -> tuple[float, int]:
    """Processor seconds and peak KiB of one command."""
    before = os.times()
    command = [sys.executable, "-c", PEAK, "score", str(source), "-m", str(model), "-o", output]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    after = os.times()
    used = after.children_user + after.children_system
    return used - before.children_user - before.children_system, int(done.stdout.split()[-1])


def growth(counts: tuple[int, ...], kinds: list[str]) -> None:
    """The table of time and memory."""
    print("| source | output |", *(f"s, {n:,} |" for n in counts), "R² | µs per picture |",
          *(f"MiB, {n:,} |" for n in counts), "growth |")  # fmt: skip
    print("| --- | --- |", " --- |" * (2 * len(counts) + 3))
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        model = write_model(root / "m" / "onnx" / "model.onnx").parent.parent
        for kind in kinds:
            sources = [make(kind, count, root) for count in counts]
            for name, file in OUTPUTS.items():
                seconds, peaks = [], []
                for count, source in zip(counts, sources, strict=True):
                    taken, peak = score(source, root / f"{kind}-{count}-{file}", model)
                    seconds.append(taken)
                    peaks.append(peak / 1024)
                    print(kind, name, count, round(taken, 2), file=sys.stderr, flush=True)
                fit = np.corrcoef(counts, seconds)[0, 1] ** 2
                slope = np.polyfit(counts, seconds, 1)[0]
                print(
                    f"| {kind} | {name} |", *(f"{s:.2f} |" for s in seconds),
                    f"{fit:.4f} | {slope * 1e6:.0f} |", *(f"{p:.0f} |" for p in peaks),
                    f"{peaks[-1] / peaks[0] - 1:+.1%} |", flush=True,
                )  # fmt: skip


def cost(count: int, rounds: int) -> None:
    """The table of what writing rows adds to scoring them."""
    ratios: dict[str, list[float]] = {name: [] for name in OUTPUTS}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        photos = root / "photos"
        photos.mkdir()
        for number in range(count):
            image = Image.open(sample_files()[number % len(sample_files())]).convert("RGB")
            image.resize((512, 384)).save(photos / f"{number:05}.jpg", quality=90)
        for turn in range(rounds):
            alone = _seconds(ALONE, str(photos))
            for name, file in OUTPUTS.items():
                taken = _seconds(WRITING, str(photos), "-o", str(root / f"{turn}-{file}"))
                ratios[name].append(taken / alone - 1)
            print(f"round {turn}: {alone:.1f} s alone", file=sys.stderr, flush=True)
    print("| rows written to | more processor time than `score_many` alone, median | bar |")
    print("| --- | ---: | ---: |")
    for name, found in ratios.items():
        print(f"| {name} | {statistics.median(found):+.1%} | 3 % |")


def _seconds(code: str, *words: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", code, *words], check=True, capture_output=True, text=True
    )
    found = re.findall(r"[\d.]+$", done.stdout.strip())
    return float(found[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=int, default=100_000)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    arguments = parser.parse_args()
    counts = tuple(count for count in COUNTS if count <= arguments.most)
    print("# `rali score` and the number of pictures\n")
    print(
        f"`{' '.join(['python', *sys.argv])}`: {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, rali {__version__}. Bars: time linear (R² ≥ 0.99), "
        "memory within 5 %.\n"
    )
    growth(counts, arguments.kinds)
    if arguments.rounds:
        print(f"\nThe built-in over {arguments.photos} photographs, {arguments.rounds} rounds:\n")
        cost(arguments.photos, arguments.rounds)


if __name__ == "__main__":
    main()
