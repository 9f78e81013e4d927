"""`rali serve` under load, every reply checked: server.md.

    python benchmarks/server.py --photographs DIR --minutes 10

A server process and clients on the same machine, over loopback: 512-pixel PNG crops, one per
request. First closed loops (enough clients to keep it busy, each waiting for its reply), one
picture at a time and in batches. Then 256 clients, who together send at most four times the rate
that batches reached. A reply is wrong if its score differs from that of `Scorer.score_many` by more
than 1e-4, and lost if a request gets neither scores nor a refusal (429).
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread

import httpx
import numpy as np
from PIL import Image

from rali import Scorer
from rali.export.measure.resizing import cut
from rali.pictures.read import find_pictures
from rali.version import __version__

PICTURES, CLIENTS, FLOODING = 64, 48, 256


@dataclass
class Load:
    """What all clients measured."""

    seconds: list[float] = field(default_factory=list)
    sent: int = 0
    refused: int = 0
    wrong: int = 0
    lost: int = 0
    span: float = 0.0
    memory: list[float] = field(default_factory=list)

    def line(self, name: str) -> str:
        rate = len(self.seconds) / self.span
        p50, p99 = (np.quantile(self.seconds, q) * 1000 for q in (0.5, 0.99))
        quarters = np.array_split(self.memory, 4)
        held = " · ".join(f"{np.median(quarter):.0f}" for quarter in quarters)
        return (
            f"| {name} | {self.sent / self.span:.0f} | {len(self.seconds):,} | {rate:.1f} | "
            f"{p50:.0f} | {p99:.0f} | "
            f"{self.refused:,} | {self.wrong} | {self.lost} | {held} | {max(self.memory):.0f} |"
        )


def start(*options: str) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "rali", "serve", "builtin", "--port", "0", *options]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    address = server.stderr.readline().split()[-1]
    Thread(target=deque, args=(server.stderr, 0), daemon=True).start()  # else it would fill up
    return server, address


def held(server: subprocess.Popen[str]) -> float:
    """MiB that the process and those that decode for it hold."""
    decoders = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in (server.pid, *decoders)]
    return sum(int(kib) for each in statuses for kib in re.findall(r"VmRSS:\s*(\d+)", each)) / 1024


async def ask(
    client: httpx.AsyncClient, address: str, picture: bytes, score: float, load: Load
) -> None:
    begin = time.perf_counter()
    load.sent += 1
    try:
        headers = {"content-type": "image/png"}
        reply = await client.post(address, content=picture, headers=headers)
        if reply.status_code == 429:
            load.refused += 1
            return
        received = float(reply.json()["results"][0]["score"])
    except Exception:  # whatever came instead of a score
        load.lost += 1
        return
    if abs(received - score) > 1e-4:
        load.wrong += 1
    else:
        load.seconds.append(time.perf_counter() - begin)


async def drive(
    server: subprocess.Popen[str],
    address: str,
    pictures: list[bytes],
    scores: list[float],
    seconds: float,
    rate: float | None,
) -> Load:
    """Clients that send as fast as they are answered, or together `rate` requests per second."""
    load, turns = Load(), itertools.count()
    count = FLOODING if rate else CLIENTS
    clients = [httpx.AsyncClient(timeout=120, verify=False) for _ in range(count)]
    await asyncio.gather(*(
        ask(clients[0], address, pictures[n], scores[n], Load()) for n in range(PICTURES)
    ))  # fmt: skip
    begin = time.perf_counter()
    end = begin + seconds

    async def loop(client: httpx.AsyncClient) -> None:
        while (now := time.perf_counter()) < end:
            turn = next(turns)
            if rate:
                due = begin + turn / rate
                if due > end:
                    return
                await asyncio.sleep(max(0.0, due - now))
            place = turn % PICTURES
            await ask(client, address, pictures[place], scores[place], load)

    async def watch() -> None:
        while time.perf_counter() < end:
            load.memory.append(held(server))
            await asyncio.sleep(1)

    await asyncio.gather(watch(), *map(loop, clients))
    load.span = time.perf_counter() - begin
    for client in clients:
        await client.aclose()
    assert load.sent == len(load.seconds) + load.refused + load.wrong + load.lost
    return load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    arguments = parser.parse_args()
    pictures = []
    for rgb in cut(find_pictures([arguments.photographs]), 4 * PICTURES):
        if min(rgb.shape[:2]) >= 512 and len(pictures) < PICTURES:
            buffer = io.BytesIO()
            Image.fromarray(rgb[:512, :512]).save(buffer, "PNG", compress_level=1)
            pictures.append(buffer.getvalue())
    scores = [result.score or 0.0 for result in Scorer().score_many(pictures)]
    lines: list[str] = []
    rate = 0.0
    plans: list[tuple[str, tuple[str, ...], bool, float]] = [
        ("one at a time, one core", ("--batch", "1", "--threads", "1"), False, 1 / 5),
        ("one at a time, all cores", ("--batch", "1"), False, 1 / 5),
        ("batches", (), False, 1.0),
        ("batches, 4 × overload", ("--queue", "64"), True, 1.0),
    ]
    for name, options, flooded, share in plans:
        server, address = start(*options)
        try:
            seconds = 60 * arguments.minutes * share
            wanted = 4 * rate if flooded else None
            load = asyncio.run(drive(server, address, pictures, scores, seconds, wanted))
        finally:
            server.terminate()
            server.wait()
        rate = len(load.seconds) / load.span
        lines.append(load.line(name))
        print(lines[-1], flush=True)
    size = statistics.mean(map(len, pictures)) / 1024
    report = (
        "# rali serve under load\n\n"
        f"Command: `python benchmarks/server.py --photographs DIR --minutes {arguments.minutes:g}`."
        f" {platform.machine()}, {os.cpu_count()} cores for server and clients together, Python "
        f"{platform.python_version()}, rali {__version__}. {PICTURES} crops of photographs, 512 "
        f"pixels, PNG of {size:.0f} KiB; {CLIENTS} clients, then {FLOODING} who send four times "
        "the rate of batches, with `--queue 64`. Every score is compared with the offline one. "
        "Memory is the server's, every second, as medians of the four quarters of the time.\n\n"
        "| | sent/s | answered | pictures/s | p50, ms | p99, ms | refused (429) | wrong | lost | "
        "MiB | at most |\n|" + " --- |" + " ---: |" * 10 + "\n" + "\n".join(lines) + "\n"
    )
    (Path(__file__).parent / "server.md").write_text(report, "utf-8")
    print(report)


if __name__ == "__main__":
    main()
