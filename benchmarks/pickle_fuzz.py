"""A hundred thousand broken pickles through the reader of `rali convert official-rali`.

    python benchmarks/pickle_fuzz.py [--count 100000] [--checkpoints 5000] [--seed 0]

PCA and IncrementalPCA as `pickle.dump` (protocols 0 to 5) and `joblib.dump` write them, in which
bytes are flipped, cut, doubled or replaced by opcodes and large numbers. Each is read in this
process, which a crash would end, and what is read is made into arrays. Checkpoints of torch are
broken alike and read as `read_checkpoint` does, by processes with a memory limit. Writes
benchmarks/pickle_fuzz.md.
"""

from __future__ import annotations

import argparse
import io
import os
import pickle
import platform
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

import joblib
import numpy as np
import torch
from sklearn.decomposition import PCA, IncrementalPCA

from rali.student.pickled import PickleRefusedError, array, read_pca
from rali.student.tensors_only import main as read_tensors

OPCODES = bytes(range(0x28, 0x99))
NUMBERS = [
    b"\xff" * 4,
    b"\x7f" + b"\xff" * 7,
    b"\x00" * 4,
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
]
BATCH = 500  # checkpoints per process


def seeds() -> list[bytes]:
    """Intact pickles."""
    points = np.random.default_rng(0).normal(size=(20, 6))
    found = []
    for fitted in (PCA(3).fit(points), IncrementalPCA(3).fit(points)):
        found += [pickle.dumps(fitted, protocol) for protocol in range(6)]
        for compress in (0, 3):
            file = io.BytesIO()
            joblib.dump(fitted, file, compress=compress)
            found.append(file.getvalue())
    return found


def broken(content: bytes, draw: random.Random) -> bytes:
    """One to eight changes of a file's bytes, mostly one."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 1, 2, 3, 8))):
        a, b = sorted((draw.randint(0, len(data)), draw.randint(0, len(data))))
        kind = draw.randint(0, 6)
        if kind == 0 and data:
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[a:a] = bytes(draw.choices(OPCODES, k=draw.randint(1, 6)))
        elif kind == 2:
            data[a : a + len(NUMBERS[0])] = draw.choice(NUMBERS)
        elif kind == 3:
            del data[a : min(b, a + 40)]
        elif kind == 4:
            data[b:b] = data[a : min(b, a + 200)]
        elif kind == 5:
            data[a : a + 1] = bytes([draw.choice(OPCODES)])
        else:
            data = data[: max(b, 2)] if draw.random() < 0.3 else data
    return bytes(data)


def read(content: bytes) -> str:
    """What became of a file: refused, or read with or without its mean."""
    try:
        state = read_pca(content)
        made = [array(state[name]) for name in ("mean_", "var_", "components_") if name in state]
    except PickleRefusedError:
        return "refused"
    return "read" if made else "read, without arrays"


def checkpoints(count: int, seed: int) -> Counter[str]:
    """What became of broken checkpoints of torch, each batch in a process of its own."""
    file = io.BytesIO()
    state = {"clip.a": torch.randn(4, 3), "scorer.prototypes": torch.randn(5, 2).half()}
    torch.save({"state_dict": state, "epoch": 3}, file)
    old = io.BytesIO()
    torch.save({"state_dict": state}, old, _use_new_zipfile_serialization=False)
    intact, found = [file.getvalue(), old.getvalue()], Counter[str]()
    for start in range(0, count, BATCH):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            draw, marks = random.Random(f"{seed} {start}"), b""
            with tempfile.TemporaryDirectory() as folder:
                source, target = Path(folder) / "ckpt.pt", Path(folder) / "out"
                for _ in range(min(BATCH, count - start)):
                    source.write_bytes(broken(draw.choice(intact), draw))
                    marks = b"x" if read_tensors(source, target) else b"."
                    os.write(writing, marks)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            marks = pipe.read()
        _, status = os.waitpid(child, 0)
        found["refused"] += marks.count(b"x")
        found["read"] += marks.count(b".")
        found["ended the reading process"] += status != 0
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--checkpoints", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw, intact = random.Random(arguments.seed), seeds()
    if {read(content) for content in intact} != {"read"}:
        raise SystemExit("An intact pickle is not read.")
    found, slowest, started = Counter[str](), 0.0, time.perf_counter()
    for _ in range(arguments.count):
        content, before = broken(draw.choice(intact), draw), time.perf_counter()
        found[read(content)] += 1
        slowest = max(slowest, time.perf_counter() - before)
    seconds = time.perf_counter() - started
    torches = checkpoints(arguments.checkpoints, arguments.seed)
    lines = [
        "# The reader of pickles on broken files\n",
        f"`python benchmarks/pickle_fuzz.py --count {arguments.count} --checkpoints "
        f"{arguments.checkpoints} --seed {arguments.seed}`: {platform.machine()}, Python "
        f"{platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}, "
        f"{seconds:.0f} s, the slowest file {1000 * slowest:.0f} ms.\n",
        f"**{arguments.count:,} files, no crash and no error but a refusal.**\n",
        "| pickles | files |\n| --- | ---: |",
        *[f"| {what} | {number:,} |" for what, number in sorted(found.items())],
        "\n| checkpoints of torch, in a process of their own | files |\n| --- | ---: |",
        *[f"| {what} | {number:,} |" for what, number in sorted(torches.items())],
    ]
    (Path(__file__).parent / "pickle_fuzz.md").write_text("\n".join(lines) + "\n", "utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
