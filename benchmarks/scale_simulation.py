"""From one core to the internet, on paper: pictures per second, bytes and prices, and a simulation.

    python benchmarks/scale_simulation.py > benchmarks/scale_simulation.md

A small discrete-event simulation of the scheduler (jobs in order, stages with servers, a window of
jobs under way, rows handed out in order) is fed with the times of single pictures, measured one by
one, and must foretell what `Scorer(threads=1)` and `Scorer(threads=2)` take, which run in turns
with it. The same simulation then is `rali score --engine ray`: one reader, many workers, some of
which die, and one process that writes (`scale_costs`). Prices are assumptions, written below in
capitals; speeds come from the pages named beside them.
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
from scale_costs import TASKS, TURNS, WRITTEN, Costs, measure

from rali import Scorer
from rali.pictures.read import open_picture
from rali.pictures.samples import sample_photographs
from rali.scoring.ledger import UNIT
from rali.scoring.on_ray import GROUP

# Measured, on other pages: pictures per second on two cores, files of 512 pixels (device.md).
WHOLE, DECODE = 97.35, 525.0
INT8 = 0.01038 / 0.00838  # speed of the int8 file against fp32 (device.md, batch 1)
VIT_L_GFLOP, VIT_L_INT8_SECONDS = 381.9, 0.7498  # a picture, two cores (device.md)
TEACHER_WEIGHTS = 8.29e9  # memory.md
# Assumed.
CORE_HOUR, GPU_HOUR = 0.04, 2.50  # dollars
GIGABYTE_MOVED, MILLION_REQUESTS = 0.02, 0.40  # dollars, between a store and machines elsewhere
PICTURE_BYTES = 150_000  # as stored, web size
ARCHIVE = 10_000  # pictures in a tar
BLOCK = 5 * 2**20  # bytes of a request to a store (fsspec and gcsfs; s3fs and adlfs 50 MiB)
NETWORK = 10e9 / 8  # bytes per second of a machine
CORES = 16  # of a machine
GPU_FLOPS, GPU_SHARE, GPU_BYTES = 989e12, 0.4, 3.35e12  # dense bfloat16, what is reached, memory
TOKENS_IN, TOKENS_OUT, TOGETHER = 700, 100, 64  # of a teacher's answer; answers at once
LATENCY = 0.1  # seconds from asking for a picture to its first byte
LOST, BEGUN = 0.01 / 10_000, 60  # workers that die, a picture; seconds until another has begun
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


def places(costs: Costs) -> list[str]:
    """Lines of the page: what one command does in one place, and how many cores that feeds."""
    lines = [
        "| in one place | µs a picture | pictures/s at most | cores of the built-in |",
        "| --- | ---: | ---: | ---: |",
    ]
    stages = {f"the reader, {name}": seconds for name, seconds in costs.reader.items()}
    stages["the writer: rows into shards"] = costs.driver
    if costs.task is not None:
        stages[f"the writer: Ray's part, {1000 * costs.task:.1f} ms a task"] = costs.task / GROUP
        stages["the writer"] = writer(costs)
    for name, seconds in stages.items():
        lines.append(
            f"| {name} | {1e6 * seconds:.1f} | {1 / seconds:,.0f} | "
            f"{1 / seconds / (WHOLE / 2):,.0f} |"
        )
    lines.append(
        f"\nOpening an output again takes {1e6 * costs.opened:.1f} µs a row: every shard is hashed "
        f"and its keys are read ({costs.opened * 1e7:,.0f} s for\n10⁷ rows, "
        f"{costs.opened * 1e9 / 60:,.0f} min for 10⁹). The keys of what is done are kept in "
        f"{costs.key:.0f} bytes each, and sorted in {costs.peak:.0f}:\n"
        f"{costs.peak * 1e7 / 1e9:.1f} GB for 10⁷, {costs.peak * 1e9 / 1e9:.0f} GB for 10⁹. With "
        "Ray the reader has them too. Where keys may repeat (lists, tables of paths, several\n"
        "sources), the reader keeps 18 to 48 bytes of each picture besides."
    )
    return lines


def writer(costs: Costs) -> float:
    """Seconds per picture in the process that takes the rows."""
    return costs.driver + (costs.task or 0) / GROUP


def commands(costs: Costs) -> list[str]:
    """Lines of the page: groups of pictures from one reader over many workers to one writer."""
    draw = random.Random(0)
    lines = [
        "| pictures | commands | cores of each | source | hours | of the cores' speed | "
        "reader, writer busy |",
        "| ---: | ---: | ---: | --- | ---: | ---: | --- |",
    ]
    alone = GROUP / (WHOLE / 2)
    for pictures, count, cores, source in (
        (10**6, 1, 16, "a folder"),
        (10**6, 1, 64, "a folder"),
        (10**9, 1, 1000, "a folder"),
        (10**9, 1, 1000, "a tar over HTTP"),
        (10**9, 20, 50, "a tar over HTTP"),
        (10**9, 10, 100, "a folder"),
        (10**9, 100, 100, "a folder"),
        (10**11, 100, 100, "a folder"),
        (10**11, 1000, 50, "a tar over HTTP"),
    ):
        groups = pictures / count / GROUP
        jobs = []
        for _ in range(min(math.ceil(groups), 200_000)):
            took = alone * draw.lognormvariate(0, 0.1)
            if draw.random() < LOST * GROUP:  # in the middle; another begins the group again
                took += alone * draw.random() + BEGUN
            jobs.append([GROUP * costs.reader[source], took, GROUP * writer(costs)])
        seconds, busy = simulate(jobs, [1, cores, 1], len(jobs))
        shares = [busy[stage] / seconds for stage in (0, 2)]
        seconds *= groups / len(jobs)
        ideal = pictures / count / (WHOLE / 2 * cores)
        lines.append(
            f"| {pictures:,} | {count:,} | {cores:,} | {source} | {seconds / 3600:,.2f} | "
            f"{ideal / seconds:.0%} | {shares[0]:.0%}, {shares[1]:.0%} |"
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
        f"| requests, a file or a picture in a zip each | ${MILLION_REQUESTS:.2f} |",
        f"| requests, tars of {ARCHIVE:,} that one process reads | "
        f"${MILLION_REQUESTS / ARCHIVE:.5f} |",
        f"| requests, such tars with `--engine ray` | "
        f"${MILLION_REQUESTS * (1 / ARCHIVE + 2 / GROUP):.4f}, and each byte moves twice |",
        f"| requests, tars in a store whose driver reads blocks of {BLOCK / 2**20:.0f} MiB | "
        f"${MILLION_REQUESTS * PICTURE_BYTES / BLOCK:.4f} |",
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
    costs = measure()
    print(
        "\n## One reader and one writer\n\nHowever many workers a command has, one task goes "
        "through its sources and one process takes the rows.\nTheir times, of the processor, the "
        f"least of {TURNS} turns (load average {os.getloadavg()[0]:.1f}): tasks of {GROUP} "
        f"pictures, shards of {UNIT:,}\nrows, {WRITTEN:,} rows and {TASKS:,} empty tasks of Ray.\n"
    )
    print("\n".join(places(costs)))
    print(
        f"\n## Tasks over workers\n\nTasks of {GROUP} pictures of the built-in's speed on a core; "
        f"their times differ by 10 %, and of {1 / LOST:,.0f}\npictures one loses its worker: its "
        f"task is begun again by another, {BEGUN} s later. Commands run beside each other.\n"
    )
    print("\n".join(commands(costs)))
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
