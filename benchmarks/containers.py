"""Pictures in random order out of files, tar shards and Parquet, as a training reads them.

python benchmarks/containers.py FOLDER … > benchmarks/containers.md
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import random
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from rali.pictures.read import find_pictures
from rali.version import __version__

# In a process of its own: reads each path's bytes, decoded too, in a random order.
READ = """
import random, sys, time
from pathlib import Path
from rali.data.manifest import read_manifest
from rali.pictures.inside import picture_bytes
from rali.pictures.read import open_picture
started = time.process_time()
paths = [row.image for path in sys.argv[2:] for row in read_manifest(path)]
listed = time.process_time() - started
work = open_picture if sys.argv[1] == "decode" else picture_bytes
random.Random(0).shuffle(paths)
work(paths[-1])
for again in range(2):  # what is read once is cached
    started = time.process_time()
    for path in paths[:READS]:
        work(path)
    seconds = time.process_time() - started
print(listed, 1000 * seconds / len(paths[:READS]))
"""


def tars(pictures: list[Path], folder: Path) -> list[Path]:
    paths = []
    for start in range(0, len(pictures), 1000):
        paths.append(folder / f"{start // 1000:03d}.tar")
        with tarfile.open(paths[-1], "w") as archive:
            for number, picture in enumerate(pictures[start : start + 1000]):
                data = picture.read_bytes()
                for suffix, held in ((picture.suffix, data), (".cls", b"3")):
                    info = tarfile.TarInfo(f"{start + number:06d}{suffix}")
                    info.size = len(held)
                    archive.addfile(info, io.BytesIO(held))
    return paths


def parquet(pictures: list[Path], folder: Path, rows: int) -> list[Path]:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    path = folder / f"groups-of-{rows}.parquet"
    cells = [{"bytes": picture.read_bytes(), "path": picture.name} for picture in pictures]
    table = pa.table({"image": cells, "score": [3.0] * len(cells)})
    write_table(table, path, row_group_size=rows)
    return [path]


def listing(pictures: list[Path], folder: Path) -> list[Path]:
    path = folder / "files.csv"
    path.write_text("image,score\n" + "".join(f"{p.absolute()},3\n" for p in pictures))
    return [path]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="photographs, with folders inside")
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--reads", type=int, default=500)
    arguments = parser.parse_args()
    pictures = find_pictures(arguments.folders, recursive=True)
    pictures = random.Random(0).sample(pictures, min(arguments.count, len(pictures)))
    size = sum(picture.stat().st_size for picture in pictures) / len(pictures) / 1024
    print("# Pictures inside Parquet and tar, in random order\n")
    folders = " ".join(folder.name for folder in arguments.folders)
    command = f"python {sys.argv[0]} {folders} --count {arguments.count}"
    print(
        f"`{command}`: {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, rali {__version__}. {len(pictures):,} photographs of "
        f"{size:,.0f} KiB on average, from the page cache; {arguments.reads} of them in a random "
        "order by one thread, after a first pass over the same. Processor time.\n"
    )
    print("| where they lie | manifest, s | bytes, ms each | decoded, ms each |")
    print("| --- | ---: | ---: | ---: |")
    code = READ.replace("READS", str(arguments.reads))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, paths in (
            ("files", listing(pictures, folder)),
            ("tar, 1,000 each", tars(pictures, folder)),
            *(
                (f"Parquet, groups of {rows:,} rows", parquet(pictures, folder, rows))
                for rows in (16, 100, 1000)
            ),
        ):
            cells = []
            for work in ("bytes", "decode"):
                done = subprocess.run(
                    [sys.executable, "-c", code, work, *map(str, paths)],
                    check=True, capture_output=True, text=True,
                )  # fmt: skip
                cells.append(done.stdout.split())
            (listed, read), (_, decoded) = cells
            numbers = f"{float(listed):.2f} | {float(read):.2f} | {float(decoded):.1f}"
            print(f"| {name} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
