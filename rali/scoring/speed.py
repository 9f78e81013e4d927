"""Seconds and memory of a model, to be measured in a fresh process; never imports torch."""

from __future__ import annotations

import math
import re
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from rali.pictures.read import open_picture

LEAST_SECONDS = 0.3  # a measurement takes at least


def peak_memory() -> float:
    """The most memory that this process has held, in MiB; NaN where the system has no number."""
    peak = _from_status("VmHWM")  # on Linux, getrusage starts from the parent process's peak
    if not math.isnan(peak):
        return peak
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    peak = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def seconds_per_picture(run: Callable[[np.ndarray], Any], batch: int, size: int) -> float:
    """How long `run` takes per picture of a float32 [batch, 3, size, size], after a warm-up."""
    pixels = np.random.default_rng(0).standard_normal((batch, 3, size, size), np.float32)
    run(pixels)
    runs, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < LEAST_SECONDS or runs < 2:
        run(pixels)
        runs += 1
    return taken / runs / batch


def measure_file(path: str, batch: int, threads: int) -> tuple[float, float]:
    """Seconds per picture from pixels to score of an ONNX file, and this process's peak in MiB."""
    from .scorer import Scorer

    scorer = Scorer(path, threads=threads)
    return seconds_per_picture(scorer.run, batch, scorer.preprocess.size), peak_memory()


def measure_rates(
    path: str, pictures: Sequence[str], threads: int, rounds: int
) -> tuple[float, float, float]:
    """Pictures per second of an ONNX file on `threads` cores, medians of interleaved rounds.

    Returns:
        Decoding d (file to the model's input), the model alone m, and files to scores. As they
        share the cores, the last is d · m / (d + m) if nothing waits.
    """
    from .scorer import Scorer

    scorer = Scorer(path, threads=threads)
    size = scorer.preprocess.size
    pixels = np.random.default_rng(0).standard_normal((1, 3, size, size), np.float32)

    def decode(picture: str) -> None:
        scorer.preprocess(open_picture(picture), scorer.buffer()[0])

    def model(_: str) -> None:
        scorer.run(pixels)

    taken: list[list[float]] = [[], [], []]
    with ThreadPoolExecutor(threads) as pool:
        works = (
            lambda: deque(pool.map(decode, pictures), maxlen=0),
            lambda: deque(pool.map(model, pictures), maxlen=0),
            lambda: deque(scorer.score_many(pictures), maxlen=0),
        )
        for turn in range(rounds + 1):  # the first warms up
            for work, times in zip(works, taken, strict=True):
                start = time.perf_counter()
                work()
                if turn:
                    times.append(time.perf_counter() - start)
    decoding, inferring, both = (len(pictures) / statistics.median(times) for times in taken)
    return decoding, inferring, both


def measure_memory(path: str, pictures: Sequence[str], count: int, threads: int) -> list[float]:
    """MiB that the process holds after every 1000 of `count` pictures, which repeat in a cycle."""
    from .scorer import Scorer

    held = []
    for done, _ in enumerate(
        Scorer(path, threads=threads).score_many(islice(cycle(pictures), count)), start=1
    ):
        if done % 1000 == 0:
            held.append(memory())
    return held


def memory() -> float:
    """The memory that this process holds now, in MiB; NaN where the system has no number."""
    return _from_status("VmRSS")


def _from_status(entry: str) -> float:
    status = Path("/proc/self/status")
    found = status.is_file() and re.search(rf"{entry}:\s*(\d+) kB", status.read_text())
    return int(found[1]) / 2**10 if found else math.nan
