"""From one core to the internet, on paper: pictures per second, bytes and prices, and a simulation.

    python benchmarks/scale_simulation.py > benchmarks/scale_simulation.md

A small discrete-event simulation of the scheduler (jobs in order, stages with servers, a window of
jobs under way, rows handed out in order) is fed with the times of single pictures, measured one by
one, and must foretell what `Scorer(threads=1)` and `Scorer(threads=2)` take, which run in turns
with it. The same simulation then hands units of 10,000 pictures to many workers, some of which die.
Prices are assumptions, written below in capitals; speeds come from the pages named beside them.
"""

from __future__ import annotations

import argparse
import heapq
import io
import math
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from rali import Scorer
from rali.pictures.read import open_picture
from rali.pictures.samples import sample_photographs

# Measured, on other pages: pictures per second on two cores, files of 512 pixels (device.md).
WHOLE, DECODE = 97.35, 525.0
INT8 = 0.01038 / 0.00838  # speed of the int8 file against fp32 (device.md, batch 1)
VIT_L_GFLOP, VIT_L_INT8_SECONDS = 381.9, 0.7498  # a picture, two cores (device.md)
TEACHER_WEIGHTS = 8.29e9  # memory.md
# Assumed.
CORE_HOUR, GPU_HOUR = 0.04, 2.50  # dollars
GIGABYTE_MOVED, MILLION_REQUESTS = 0.02, 0.40  # dollars, between a store and machines elsewhere
PICTURE_BYTES = 150_000  # as stored, web size
ARCHIVE = 10_000  # pictures in a tar: requests per picture fall by as much
NETWORK = 10e9 / 8  # bytes per second of a machine
CORES = 16  # of a machine
GPU_FLOPS, GPU_SHARE, GPU_BYTES = 989e12, 0.4, 3.35e12  # dense bfloat16, what is reached, memory
TOKENS_IN, TOKENS_OUT, TOGETHER = 700, 100, 64  # of a teacher's answer; answers at once
LATENCY = 0.1  # seconds from asking for a picture to its first byte
UNIT = 10_000  # pictures
SIZES = (10**6, 10**9, 10**11)


def simulate(
    times: Sequence[Sequence[float]], servers: Sequence[int], window: int
) -> tuple[float, list[float]]:
    """Seconds until the last job is handed out, and the busy seconds of each stage.

    Args:
        times: a job's seconds in each stage, [jobs][stages]. Jobs start in order.
        servers: of each stage. window: jobs under way, the finished ones that wait to be handed
            out in order among them.
    """
    stages = len(servers)
    free, waiting = list(servers), [list[int]() for _ in servers]
    events: list[tuple[float, int, int]] = []  # (when, job, the stage that it leaves)
    busy, done = [0.0] * stages, [False] * len(times)
    now, next_job, handed_out = 0.0, 0, 0

    def begin(stage: int) -> None:
        while free[stage] and waiting[stage]:
            job = heapq.heappop(waiting[stage])
            free[stage] -= 1
            busy[stage] += times[job][stage]
            heapq.heappush(events, (now + times[job][stage], job, stage))

    while handed_out < len(times):
        while next_job < len(times) and next_job - handed_out < window:
            heapq.heappush(waiting[0], next_job)
            next_job += 1
        begin(0)
        now, job, stage = heapq.heappop(events)
        free[stage] += 1
        begin(stage)
        if stage + 1 < stages:
            heapq.heappush(waiting[stage + 1], job)
            begin(stage + 1)
        else:
            done[job] = True
            while handed_out < len(times) and done[handed_out]:
                handed_out += 1
    return now, busy


def files(folder: Path, count: int) -> list[Path]:
    """JPEG files of 512 × 512 pixels, from photographs."""
    draw, sources, made = np.random.default_rng(0), sample_photographs(), []
    for number in range(count):
        image = Image.fromarray(sources[number % len(sources)])
        side = int(draw.integers(200, min(image.size)))
        left, top = (int(draw.integers(0, edge - side + 1)) for edge in image.size)
        piece = image.crop((left, top, left + side, top + side)).resize((512, 512))
        made.append(folder / f"{number:04d}.jpg")
        piece.save(made[-1], quality=int(draw.integers(60, 96)))
    return made


def one_by_one(scorer: Scorer, paths: Sequence[Path]) -> list[tuple[float, float, float]]:
    """Seconds to decode, to resize and to run the model, of each picture alone."""
    found, out = [], scorer.buffer()
    for path in paths:
        times = [time.perf_counter()]
        rgb = open_picture(path)
        times.append(time.perf_counter())
        scorer.preprocess(rgb, out[0])
        times.append(time.perf_counter())
        scorer.run(out[:1])
        times.append(time.perf_counter())
        found.append((times[1] - times[0], times[2] - times[1], times[3] - times[2]))
    return found


def measured(count: int, rounds: int) -> list[str]:
    """Lines of the page: simulated beside measured runs of one and two workers."""
    with tempfile.TemporaryDirectory() as folder:
        paths = files(Path(folder), count)
        size = statistics.mean(path.stat().st_size for path in paths)
        scorers = {workers: Scorer(threads=workers) for workers in (1, 2)}
        seconds: dict[int, list[float]] = {1: [], 2: []}
        foretold: dict[int, list[float]] = {1: [], 2: []}
        stages = []
        for each in scorers.values():
            list(each.score_many(paths[:8]))
        for _ in range(rounds):
            times = one_by_one(scorers[1], paths)
            stages.append([1000 * statistics.mean(column) for column in zip(*times, strict=True)])
            for workers, scorer in scorers.items():
                started = time.perf_counter()
                list(scorer.score_many(paths))
                seconds[workers].append(time.perf_counter() - started)
                jobs = [[sum(each)] for each in times]
                foretold[workers].append(simulate(jobs, [workers], 2 * workers)[0])
    decode, resize, model = (statistics.median(column) for column in zip(*stages, strict=True))
    lines = [
        f"{count} JPEG files of 512 × 512 pixels and {size / 1000:.0f} kB, {rounds} rounds in "
        f"turns; one picture alone: decode {decode:.1f} ms, resize {resize:.1f} ms, model "
        f"{model:.1f} ms (medians of the rounds' means; load average "
        f"{os.getloadavg()[0]:.1f}).\n",
        "| workers | measured, pictures/s | simulated | simulated / measured, each round |",
        "| ---: | ---: | ---: | --- |",
    ]
    for workers in scorers:
        ratios = [m / s for m, s in zip(seconds[workers], foretold[workers], strict=True)]
        lines.append(
            f"| {workers} | {count / statistics.median(seconds[workers]):.1f} | "
            f"{count / statistics.median(foretold[workers]):.1f} | "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}) |"
        )
    gain = [a / b for a, b in zip(seconds[1], seconds[2], strict=True)]
    told = [a / b for a, b in zip(foretold[1], foretold[2], strict=True)]
    lines.append(
        f"\nTwo workers against one: measured {statistics.median(gain):.2f} times, simulated "
        f"{statistics.median(told):.2f} times."
    )
    return lines


def fleet() -> list[str]:
    """Lines of the page: units of 10,000 pictures over many workers, with slow and dying ones."""
    draw = random.Random(0)
    lines = [
        "| pictures | units | workers (cores) | hours | of the ideal speed |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    alone = UNIT / (WHOLE / 2)
    for pictures, workers in ((10**6, 16), (10**6, 64), (10**9, 1000), (10**9, 10_000),
                              (10**11, 10_000)):  # fmt: skip
        units = pictures // UNIT
        jobs = []
        for _ in range(min(units, 1_000_000)):
            took = alone * draw.lognormvariate(0, 0.1)
            if draw.random() < 0.01:  # the worker dies in the middle; another begins the unit again
                took += alone * draw.random() + 60
            jobs.append([took])
        seconds, _ = simulate(jobs, [workers], len(jobs))
        seconds *= units / len(jobs)
        ideal = pictures / (WHOLE / 2 * workers)
        lines.append(
            f"| {pictures:,} | {units:,} | {workers:,} | {seconds / 3600:.2f} | "
            f"{ideal / seconds:.0%} |"
        )
    return lines


def arithmetic() -> list[str]:
    """Lines of the page: speed, price and bytes per million, and what three sizes take."""
    core = WHOLE / 2
    fed = DECODE / 2 * CORES  # what a machine's cores decode for a GPU
    vit_gpu = GPU_FLOPS * GPU_SHARE / (VIT_L_GFLOP * 1e9)
    prefill = 2 * TEACHER_WEIGHTS * TOKENS_IN / (GPU_FLOPS * GPU_SHARE)
    decode = TOKENS_OUT * 2 * TEACHER_WEIGHTS / GPU_BYTES / TOGETHER
    teacher = 1 / (prefill + decode)
    rows = [
        ("built-in, fp32, a core", core, CORE_HOUR, "measured"),
        ("built-in, int8, a core", 1 / (1 / (DECODE / 2) + (1 / core - 2 / DECODE) / INT8),
         CORE_HOUR, "measured parts"),
        ("built-in, a GPU, decoding bound", fed, GPU_HOUR + CORES * CORE_HOUR, "arithmetic"),
        ("ViT-L/14-336, int8, a core", 1 / VIT_L_INT8_SECONDS / 2, CORE_HOUR, "measured"),
        ("ViT-L/14-336, a GPU", min(vit_gpu, fed), GPU_HOUR + CORES * CORE_HOUR, "arithmetic"),
        ("teacher of 7B, a GPU, one text", teacher, GPU_HOUR + CORES * CORE_HOUR, "arithmetic"),
    ]  # fmt: skip
    lines = [
        "| what | pictures/s | $ per million | 10⁶ | 10⁹ | 10¹¹ | from |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, rate, hour, source in rows:
        cells = [f"{size / rate / 3600:,.{0 if size / rate > 36_000 else 1}f} h" for size in SIZES]
        price = 1e6 / rate / 3600 * hour
        lines.append(f"| {name} | {rate:,.1f} | {price:,.2f} | {' | '.join(cells)} | {source} |")
    machine, share = core * CORES, PICTURE_BYTES / NETWORK
    moved = PICTURE_BYTES * 1e6 / 1e9
    lines += [
        "\nHours are of one core or one GPU.\n",
        "| per million pictures | |\n| --- | ---: |",
        f"| bytes fetched | {moved:,.0f} GB, ${moved * GIGABYTE_MOVED:.2f} |",
        f"| requests, a file each | ${MILLION_REQUESTS:.2f} |",
        f"| requests, tars of {ARCHIVE:,} | ${MILLION_REQUESTS / ARCHIVE:.5f} |",
        f"| rows in Parquet | {row_bytes():.0f} MB |",
        f"\nA machine of {CORES} cores scores {machine:,.0f} pictures/s and fetches "
        f"{machine * PICTURE_BYTES / 1e6:,.0f} MB/s, {machine * share:.0%} of its network; with a "
        f"latency of {LATENCY:g} s, {math.ceil(machine * LATENCY)} requests must be under way. A "
        f"GPU beside it, fed with {fed:,.0f} pictures/s, takes "
        f"{fed * share:.0%} of the network; it "
        f"needs {math.ceil(vit_gpu / (DECODE / 2))} cores to keep ViT-L/14-336 busy.",
    ]
    return lines


def row_bytes() -> float:
    """MB of a million rows in Parquet, as `rali score -o x.parquet` writes them."""
    import pyarrow as pa
    from pyarrow import parquet

    draw, count = random.Random(0), 100_000
    names = [
        f"crawl/{draw.randrange(10**5):05d}/{draw.getrandbits(64):016x}.jpg" for _ in range(count)
    ]
    scores = [round(draw.uniform(1, 5), 6) for _ in names]
    table = pa.table({"image": names, "score": scores, "error": pa.nulls(count, pa.string())})
    buffer = io.BytesIO()
    parquet.write_table(table, buffer)
    return len(buffer.getvalue()) * 1e6 / count / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(
        "# From one core to the internet\n\n"
        f"`python benchmarks/scale_simulation.py --count {args.count} --rounds {args.rounds}`: "
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, seed "
        "0.\n\n## The simulation against measured runs\n"
    )
    print("\n".join(measured(args.count, args.rounds)))
    print(
        "\n## Units over workers\n\nUnits of 10,000 pictures of the built-in's speed on a core; "
        "their times differ by 10 %, and one in a\nhundred loses its worker and is begun again by "
        "another. What is missing to 100 % is that, and the\nend, when workers find no unit left.\n"
    )
    print("\n".join(fleet()))
    print(
        "\n## Arithmetic\n\n"
        f"Assumed: ${CORE_HOUR:.2f} per core and hour, ${GPU_HOUR:.2f} per GPU and hour with "
        f"{GPU_FLOPS / 1e12:.0f} TFLOP/s in bfloat16 of which {GPU_SHARE:.0%} are\nreached and "
        f"{GPU_BYTES / 1e12:.2f} TB/s of memory, {CORES} cores and {NETWORK * 8 / 1e9:.0f} Gbit/s "
        f"beside each, ${GIGABYTE_MOVED:.2f} per GB moved,\n${MILLION_REQUESTS:.2f} per million "
        f"requests, pictures of {PICTURE_BYTES / 1000:.0f} kB; a teacher's answer of {TOKENS_IN} "
        f"tokens in and {TOKENS_OUT} out,\n{TOGETHER} at once. Measured speeds are from device.md "
        "(two cores, 512 pixels), the teacher's size from\nmemory.md. Nothing was run on a GPU: "
        "those rows are what the assumptions give.\n"
    )
    print("\n".join(arithmetic()))


if __name__ == "__main__":
    main()
