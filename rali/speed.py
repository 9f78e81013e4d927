"""Seconds and memory of a model: what a process of its own measures, without importing torch."""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LEAST_SECONDS = 0.3  # of work per measurement


def peak_memory() -> float:
    """The most memory that this process has held, in MiB; NaN where the system does not say."""
    status = Path("/proc/self/status")
    if status.is_file():  # what getrusage says on Linux begins with the parent's
        held = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        if held:
            return int(held[1]) / 2**10
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def seconds_per_picture(run: Callable[[np.ndarray], Any], batch: int, size: int) -> float:
    """How long `run` takes for each picture of float32 [batch, 3, size, size], after one run."""
    pixels = np.random.default_rng(0).standard_normal((batch, 3, size, size), np.float32)
    run(pixels)
    runs, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < LEAST_SECONDS or runs < 2:
        run(pixels)
        runs += 1
    return taken / runs / batch


def measure_file(path: str, batch: int, threads: int) -> tuple[float, float]:
    """Seconds per picture, pixels to score, of an ONNX file, and the process's peak in MiB."""
    from .scorer import Scorer

    scorer = Scorer(path, threads=threads)
    return seconds_per_picture(scorer.run, batch, scorer.preprocess.size), peak_memory()
