"""How large, how fast and how hungry students are, in each precision, measured in turns.

In: students, or names of encoders, which get random weights: they cost the same time. Out: one row
per student, precision and batch. Every measurement has a process of its own, so that its peak of
memory is its own; the processes take turns for some rounds, and medians count, because machines
drift. torch's own float32 ("torch") is measured among them: speeds are given as multiples of it.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rali.errors import InputError
from rali.scoring.model_folder import BUILTIN, WEIGHTS_FILE, find_model
from rali.scoring.speed import measure_file, peak_memory, seconds_per_picture
from rali.student.encoders import load_encoder
from rali.student.student import Student, StudentConfig

from ..checked import Gate, compare, degraded_pictures, export_checked

TORCH = "torch"
Report = Callable[[str, int, int], None]
GEMM = 2048  # edge of the square matrices whose product is the machine's peak


@dataclass(frozen=True)
class Measured:
    """One student in one precision and batch.

    Attributes:
        precision: "torch" or one of `rali.scoring.model_folder.PRECISIONS`.
        megabytes: of the file. seconds: per picture, pixels to score. speedup: times torch's.
        peak: most memory of the process, MiB.
        gflop: per picture. gemm_share: of the arithmetic that a large matrix product reaches.
        cosine: the least between an embedding and torch's.
    """

    model: str
    precision: str
    batch: int
    megabytes: float
    seconds: float
    speedup: float
    peak: float
    gflop: float
    gemm_share: float
    cosine: float


@dataclass(frozen=True)
class Subject:
    """A student that is measured.

    Attributes:
        name: what was asked for. model: what `Scorer` takes; of random weights, `folder`.
        trained: or with random weights. folder: torch's.
        files: ONNX, by precision. cosines: the least between an embedding of each and torch's.
        gflop: per picture.
    """

    name: str
    model: str
    trained: bool
    folder: Path
    files: dict[str, Path]
    cosines: dict[str, float]
    gflop: float


def prepare(
    models: Sequence[str],
    folder: Path,
    precisions: Sequence[str],
    report: Report = lambda name, done, count: None,
) -> list[Subject]:
    """Students in every precision: their own files, or exported ones where they have none.

    Args:
        models: model folders, "builtin", hub ids, or encoders' names as for `load_encoder`.
        folder: for the files.
        report: called with (what is done, steps done, steps).

    Raises:
        InputError: no such model or precision.
    """
    subjects = []
    for place, model in enumerate(models):
        report(f"export {model}", place, len(models))
        subjects.append(_subject(model, folder / f"{place}", precisions))
    return subjects


def bench(
    subjects: Sequence[Subject],
    *,
    batches: Sequence[int] = (1, 4),
    rounds: int = 5,
    threads: int,
    report: Report = lambda name, done, count: None,
) -> list[Measured]:
    """Time and memory of every precision and batch, in turns.

    Args:
        report: called with (what is done, steps done, steps).
    """
    jobs = [
        (subject, precision, batch)
        for subject in subjects
        for precision in (TORCH, *subject.files)
        for batch in batches
    ]
    found: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    peaks = []
    for round_ in range(rounds):
        peaks.append(alone(gemm_rate, threads))
        for place, (subject, precision, batch) in enumerate(jobs):
            done = round_ * len(jobs) + place
            report(f"{subject.name}, {precision}, batch {batch}", done, rounds * len(jobs))
            work = measure_torch if precision == TORCH else measure_file
            file = subject.files.get(precision, subject.folder)
            told = alone(work, str(file), batch, threads)
            found.setdefault((subject.name, precision, batch), []).append(told)
    fastest = statistics.median(peaks)
    rows = []
    for subject, precision, batch in jobs:
        own = found[subject.name, precision, batch]
        seconds = statistics.median(s for s, _ in own)
        # Of one round, as the machine's speed changes between them.
        base = found[subject.name, TORCH, batch]
        speedup = statistics.median(b / s for (s, _), (b, _) in zip(own, base, strict=True))
        file = subject.files.get(precision, subject.folder / WEIGHTS_FILE)
        rows.append(
            Measured(
                model=subject.name,
                precision=precision,
                batch=batch,
                megabytes=file.stat().st_size / 1e6,
                seconds=seconds,
                speedup=speedup,
                peak=statistics.median(m for _, m in own),
                gflop=subject.gflop,
                gemm_share=subject.gflop / seconds / fastest,
                cosine=subject.cosines.get(precision, 1.0),
            )
        )
    return rows


def measure_torch(path: str, batch: int, threads: int) -> tuple[float, float]:
    """As `rali.scoring.speed.measure_file`, of a model folder by torch."""
    torch.set_num_threads(threads)
    student = Student.from_pretrained(path)

    def run(pixels: np.ndarray) -> None:
        with torch.inference_mode():
            student(torch.from_numpy(pixels))

    return seconds_per_picture(run, batch, student.preprocess.size), peak_memory()


def gemm_rate(threads: int) -> float:
    """GFLOP per second of a large product of matrices in float32."""
    torch.set_num_threads(threads)
    one, other = torch.randn(2, GEMM, GEMM)
    torch.mm(one, other)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(one, other)
        times.append(time.perf_counter() - start)
    return 2 * GEMM**3 / 1e9 / statistics.median(times)


def gflop(student: Student) -> float:
    """Arithmetic of one picture's score, a multiplication and an addition counting as two."""
    from torch.utils.flop_counter import FlopCounterMode

    size = student.preprocess.size
    # What the counter fails at: a parameter that a layer expands, and that wants a gradient.
    frozen = copy.deepcopy(student).requires_grad_(False)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # its one kernel would count as nothing
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            frozen(torch.zeros(1, 3, size, size))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops() / 1e9


def random_student(encoder: str, seed: int = 0) -> Student:
    """A student of an encoder with random weights; no two normalisations are alike.

    Equal ones would be merged on export, and flatter its agreement.
    """
    torch.manual_seed(seed)
    loaded = load_encoder(encoder, None if encoder == "nano" else "random", text=False)
    for module in loaded.image.modules():
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.1)
            nn.init.normal_(module.bias, 0, 0.1)
    width = loaded.dim
    config = StudentConfig(
        loaded.spec, loaded.preprocess.to_dict(), width, min(512, 2 * width // 3), 250
    )
    student = Student(config, loaded.image)
    nn.init.orthogonal_(student.components)
    nn.init.normal_(student.basis_vectors)
    student.basis_scores.copy_(torch.linspace(1, 5, config.bases))
    return student.eval()


def as_rows(rows: Sequence[Measured]) -> list[dict[str, Any]]:
    """Rows as plain values, four digits each."""
    return [
        {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in asdict(row).items()}
        for row in rows
    ]


def _subject(model: str, folder: Path, precisions: Sequence[str]) -> Subject:
    known = model == BUILTIN or Path(model).is_dir() or "/" in model
    student = Student.from_pretrained(model) if known else random_student(model)
    student.save_pretrained(folder / "model")
    files, cosines = {}, {}
    pictures = degraded_pictures()[::6]
    # Scores of random weights are no scores: no layer is worth a search, embeddings tell enough.
    gate = Gate() if known else Gate(srcc=-1.0, max_difference=math.inf)
    for precision in precisions:
        own = _own_file(model, precision) if known else None
        files[precision] = file = own or folder / f"model_{precision}.onnx"
        agreement = (
            compare(student, file, pictures)
            if own
            else export_checked(student, file, pictures, precision=precision, gate=gate)
        )
        cosines[precision] = agreement.cosine
    named = model if known else str(folder / "model")
    return Subject(model, named, known, folder / "model", files, cosines, gflop(student))


def _own_file(model: str, precision: str) -> Path | None:
    try:
        return find_model(model, precision)
    except InputError:
        return None


def alone(work: Callable[..., Any], *values: Any) -> Any:
    """What `work` gives in a process of its own.

    Raises:
        InputError: the process ended before it gave anything.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(work, *values).result()
        except BrokenProcessPool as error:
            raise InputError(
                "the process that measured it was killed, for memory perhaps"
            ) from error
