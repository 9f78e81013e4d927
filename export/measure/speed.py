"""How large, how fast and how hungry for memory students are, in each precision.

In: students, or names of encoders, which get random weights: they cost the same time. Out: one
measurement per student, precision and batch. Each runs in a process of its own, so that its peak of
memory is its own. The processes take turns for some rounds and medians count, because machines
drift. torch's own float32 ("torch") takes turns with them: speeds are multiples of it.
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
from rali.runs.progress import Progress, renamed, silent
from rali.scoring.model_folder import WEIGHTS_FILE, find_model, is_model
from rali.scoring.speed import measure_file, peak_memory, seconds_per_picture
from rali.student.encoders import family_of, load_encoder
from rali.student.student import Student, StudentConfig

from ..checked import Gate, compare, degraded_pictures, export_checked

TORCH = "torch"
GEMM = 2048  # edge of the square matrices whose product is the machine's peak


@dataclass(frozen=True)
class Measurement:
    """One student in one precision and batch.

    Attributes:
        precision: "torch" or one of `rali.scoring.model_folder.PRECISIONS`.
        megabytes: size of the file. seconds: per picture, pixels to score.
        speedup: as a multiple of torch's speed.
        peak: the most memory that the process held, MiB.
        gflop: arithmetic per picture.
        gemm_share: its rate as a share of the rate of a large matrix product.
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
        name: what was asked for. model: what `Scorer` takes; `folder` where weights are random.
        trained: false where weights are random. folder: the model folder, for torch.
        files: ONNX files by precision.
        cosines: by precision, the least between an embedding and torch's.
        gflop: arithmetic per picture.
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
    progress: Progress = silent,
) -> list[Subject]:
    """Students in every precision: their own files, or exported ones where they have none.

    Args:
        models: model folders, "builtin", Hub ids, or encoders' names as for `load_encoder`.
        folder: where files are written.

    Raises:
        InputError: no such model or precision.
    """
    return [
        _subject(model, folder / f"{place}", precisions, renamed(progress, f"export {model}"))
        for place, model in enumerate(models)
    ]


def bench(
    subjects: Sequence[Subject],
    *,
    batches: Sequence[int] = (1, 4),
    rounds: int = 5,
    threads: int,
    progress: Progress = silent,
) -> list[Measurement]:
    """Time and memory of every precision and batch, in turns."""
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
        for subject, precision, batch in jobs:
            stage = f"{subject.name}, {precision}, batch {batch}"
            progress(stage, round_, rounds)
            work = measure_torch if precision == TORCH else measure_file
            file = subject.files.get(precision, subject.folder)
            cost = alone(work, str(file), batch, threads)
            found.setdefault((subject.name, precision, batch), []).append(cost)
            progress(stage, round_ + 1, rounds)
    fastest = statistics.median(peaks)
    rows = []
    for subject, precision, batch in jobs:
        costs = found[subject.name, precision, batch]
        seconds = statistics.median(s for s, _ in costs)
        # Within a round, as the machine's speed changes between rounds.
        base = found[subject.name, TORCH, batch]
        speedup = statistics.median(b / s for (s, _), (b, _) in zip(costs, base, strict=True))
        file = subject.files.get(precision, subject.folder / WEIGHTS_FILE)
        rows.append(
            Measurement(
                model=subject.name,
                precision=precision,
                batch=batch,
                megabytes=file.stat().st_size / 1e6,
                seconds=seconds,
                speedup=speedup,
                peak=statistics.median(m for _, m in costs),
                gflop=subject.gflop,
                gemm_share=subject.gflop / seconds / fastest,
                cosine=subject.cosines.get(precision, 1.0),
            )
        )
    return rows


def measure_torch(path: str, batch: int, threads: int) -> tuple[float, float]:
    """As `rali.scoring.speed.measure_file`, for a model folder that torch runs."""
    torch.set_num_threads(threads)
    student = Student.from_pretrained(path)

    def run(pixels: np.ndarray) -> None:
        with torch.inference_mode():
            student(torch.from_numpy(pixels))

    return seconds_per_picture(run, batch, student.preprocess.size), peak_memory()


def gemm_rate(threads: int) -> float:
    """GFLOP per second of a large matrix product in float32."""
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
    """Arithmetic of one picture's score: a multiplication and an addition count as two.

    Counted are matrix products and convolutions, those of attention too.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    size = student.preprocess.size
    # The counter fails at a parameter that a layer expands and that wants a gradient.
    frozen = copy.deepcopy(student).requires_grad_(False)
    pixels = torch.zeros(1, 3, size, size, device=student.mean.device)
    fast = torch.backends.mha.get_fastpath_enabled()
    # Kernels that fuse attention count as nothing, all of them or, by torch's version, some.
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
            torch.no_grad(),
        ):
            frozen(pixels)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops() / 1e9


def random_student(encoder: str, seed: int = 0) -> Student:
    """A student of an encoder with random weights; no two normalisations are alike.

    Equal ones would be merged on export, which would flatter the agreement.
    """
    torch.manual_seed(seed)
    loaded = load_encoder(encoder, None if family_of(encoder).packaged else "random", text=False)
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


def as_rows(rows: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Measurements as plain values, floats with four digits."""
    return [
        {k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in asdict(row).items()}
        for row in rows
    ]


def _subject(
    model: str, folder: Path, precisions: Sequence[str], progress: Progress = silent
) -> Subject:
    trained = is_model(model)
    student = Student.from_pretrained(model) if trained else random_student(model)
    student.save_pretrained(folder / "model")
    files, cosines = {}, {}
    pictures = degraded_pictures(every=6)
    # Scores by random weights mean nothing: embeddings are compared, and no layer is searched for.
    gate = Gate() if trained else Gate(srcc=-1.0, max_difference=math.inf)
    for done, precision in enumerate(precisions):
        progress("export", done, len(precisions))
        own = _own_file(model, precision) if trained else None
        files[precision] = file = own or folder / f"model_{precision}.onnx"
        agreement = (
            compare(student, file, pictures)
            if own
            else export_checked(student, file, pictures, precision=precision, gate=gate)
        )
        cosines[precision] = agreement.cosine
    progress("export", len(precisions), len(precisions))
    loaded = model if trained else str(folder / "model")
    return Subject(model, loaded, trained, folder / "model", files, cosines, gflop(student))


def _own_file(model: str, precision: str) -> Path | None:
    try:
        return find_model(model, precision)
    except InputError:
        return None


def alone(work: Callable[..., Any], *values: Any) -> Any:
    """What `work` returns in a process of its own.

    Raises:
        InputError: the process ended before it returned.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(work, *values).result()
        except BrokenProcessPool as error:
            raise InputError(
                "The process that measured it was killed, perhaps for lack of memory."
            ) from error
