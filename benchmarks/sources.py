"""How long and how much memory it takes to enumerate a source, from 10³ to 10⁵ (or more) pictures.

Each count of each source is a process of its own, which goes through all entries and keeps none.
Pictures are a few bytes each: what is measured is the enumeration, not the reading.

    python benchmarks/sources.py > benchmarks/sources.md
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

from rali.pictures.sources import find_entries
from rali.version import __version__

COUNTS = (1_000, 10_000, 100_000)
KINDS = ("folder", "tar", "tar.gz", "zip", "csv", "jsonl", "parquet", "pictures.parquet", "txt")
NOTE = {
    "csv": "paths",
    "jsonl": "paths",
    "parquet": "paths",
    "pictures.parquet": "pictures inside",
    "txt": "`@list.txt`",
}


def make(kind: str, count: int, folder: Path) -> Path:
    """A source with so many pictures of 100 bytes; nothing is there where it only lists paths."""
    names = [f"p{number}.jpg" for number in range(count)]
    data = bytes(100)
    place = folder / f"{count}.{kind}"
    if kind == "folder":
        place.mkdir()
        for name in names:
            (place / name).write_bytes(data)
    elif kind.startswith("tar"):
        with tarfile.open(place, "w:gz" if kind == "tar.gz" else "w") as archive:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
                archive.members.clear()
    elif kind == "zip":
        with zipfile.ZipFile(place, "w") as packed:
            for name in names:
                packed.writestr(name, data)
    elif kind == "csv":
        place.write_text("image,score\n" + "".join(f"{name},3\n" for name in names))
    elif kind == "jsonl":
        place.write_text("".join(json.dumps({"image": name}) + "\n" for name in names))
    elif kind == "txt":
        place.write_text("".join(f"{folder / name}\n" for name in names))
    else:
        import pyarrow as pa
        from pyarrow import parquet

        cells = names if kind == "parquet" else [{"bytes": data, "path": name} for name in names]
        parquet.write_table(pa.table({"image": cells}), place, row_group_size=1000)
    return place


def enumerate_all(source: str) -> None:
    """Seconds, entries and the peak of the process's memory in MiB, as JSON."""
    start = time.process_time()
    count = sum(1 for _ in find_entries([source]))
    seconds = time.process_time() - start
    # Not getrusage: its peak begins with the memory of the process that started this one.
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    print(json.dumps({"seconds": seconds, "count": count, "peak": int(status.split()[0]) / 1024}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        enumerate_all(arguments.one)
        return
    counts = arguments.counts
    seconds_heads = " | ".join(f"s, {count:,}" for count in counts)
    peak_heads = " | ".join(f"MiB, {count:,}" for count in counts)
    print(f"""# Sources: enumerating pictures

Time and memory of `find_entries` over a source, every entry taken and none kept; one process each,
processor time. A picture has 100 bytes and is not read. Memory is the process's peak. Bar: time
linear (R² ≥ 0.99), memory at the largest count within 5 % of the smallest's.

rali {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()},
{os.cpu_count()} cores, no seed.

| source | {seconds_heads} | R² | µs per picture | {peak_heads} | growth |
| --- | {" | ".join("---" for _ in range(2 * len(counts) + 3))} |""")
    with tempfile.TemporaryDirectory() as name:
        for kind in KINDS:
            rows = []
            for count in counts:
                source = make(kind, count, Path(name))
                given = f"@{source}" if kind == "txt" else str(source)
                command = [sys.executable, __file__, "--one", given]
                run = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
                assert run["count"] == count
                rows.append(run)
            seconds, peaks = ([row[key] for row in rows] for key in ("seconds", "peak"))
            fit = np.corrcoef(counts, seconds)[0, 1] ** 2
            slope = 1e6 * (seconds[-1] - seconds[0]) / (counts[-1] - counts[0])
            label = f"{kind} ({NOTE[kind]})" if kind in NOTE else kind
            cells = [f"{value:.3f}" for value in seconds] + [f"{fit:.4f}", f"{slope:.0f}"]
            cells += [f"{value:.0f}" for value in peaks] + [f"{peaks[-1] / peaks[0] - 1:+.1%}"]
            print(f"| {label} | {' | '.join(cells)} |", flush=True)
    print("""
Where keys might repeat, a table of their hashes grows by 12 to 32 bytes a picture; a folder's names
are sorted in runs. A zip's directory is in memory while it is gone through. These processes hold
nothing else: no model, no picture.""")


if __name__ == "__main__":
    main()
