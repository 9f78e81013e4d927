"""What rali promises of a student on a device, each as a bar and what was measured.

A bar that was not measured says what it needs. Speeds come from `rali.export.measure.speed`'s rows;
the rest is measured here, on photographs and on a manifest with human scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from rali.data.manifest import Row
from rali.errors import InputError, RaliError
from rali.metrics import srcc
from rali.scoring.scorer import Scorer
from rali.scoring.speed import measure_memory, measure_rates

from ..image import export_image
from ..resize import pixels_model
from ..web import export_web
from .browser import browse, serve
from .explanations import chances_of, degrade_all
from .resizing import cut, open_session, resize_times
from .speed import TORCH, Measured, Report, Subject, alone

LARGE = "ViT-L-14-336"
RATED = 256  # pictures whose rate is measured
SHAPES = 200  # pictures of many shapes for the graph that resizes
TIMED = 24  # of them
BROWSED = 12
TOP = 3  # explanations


@dataclass(frozen=True)
class Bar:
    """One promise.

    Attributes:
        what, bar: what is measured, and what is wanted of it.
        measured: numbers by name. met: None where it was not measured; then `why` says so.
    """

    what: str
    bar: str
    measured: Mapping[str, float] = field(default_factory=dict)
    met: bool | None = None
    why: str = ""


@dataclass(frozen=True)
class Given:
    """What there is to measure on.

    Attributes:
        student: a trained one, measured in float32 unless said otherwise.
        rows: pictures with human scores.
        photographs: undegraded, which neither the model nor its phrases were trained on.
        count: pictures that pass while memory is watched.
    """

    student: Subject
    rows: Sequence[Row] = ()
    photographs: Sequence[Path] = ()
    count: int = 50_000
    threads: int = 1
    rounds: int = 5

    def file(self, precision: str = "fp32") -> str:
        """Of the student.

        Raises:
            InputError: it was not prepared in this precision.
        """
        if precision not in self.student.files:
            raise InputError(f"give --precision {precision}")
        return str(self.student.files[precision])


def bars(measured: Sequence[Measured], given: Given | None, report: Report) -> list[Bar]:
    """Every bar, in the order of the documentation; a bar whose needs are not given says so.

    Args:
        measured: what `rali.export.measure.speed.bench` found.
        given: None where no model is trained.
        report: called with (what is measured, steps done, steps).
    """
    found = speed_bars(measured)
    for done, (what, bar, needs, measure) in enumerate(_BARS):
        report(what, done, len(_BARS))
        if given is None:
            found.append(Bar(what, bar, why="give a trained model, such as builtin"))
        elif not getattr(given, needs):
            found.append(Bar(what, bar, why=_NEEDS[needs]))
        else:
            try:
                found.append(Bar(what, bar, *measure(given)))
            except RaliError as error:
                found.append(Bar(what, bar, why=str(error)))
    return found


def speed_bars(rows: Sequence[Measured]) -> list[Bar]:
    """Of ViT-L/14-336 against torch's own float32."""
    large = [row for row in rows if row.model.startswith(LARGE)]
    by = {(row.precision, row.batch): row for row in large}
    found = []
    for precision, wanted in (("fp32", {1: 0.93, 4: 0.93}), ("int8", {1: 2.2, 4: 3.0})):
        what = f"{LARGE} {precision} against torch's fp32"
        words = ", ".join(f"≥ {speed} at batch {batch}" for batch, speed in wanted.items())
        if precision == "int8":
            words += ", memory ≤ 0.4 of fp32's, cosine ≥ 0.999"
        needed = {TORCH, "fp32", precision}
        if not all((each, batch) in by for each in needed for batch in wanted):
            more = "" if precision == "fp32" else f" --precision {precision}"
            why = f"give {LARGE}, --precision fp32{more}, --batch 1 --batch 4"
            found.append(Bar(what, words, why=why))
            continue
        told = {f"speedup, batch {batch}": by[precision, batch].speedup for batch in wanted}
        met = all(by[precision, batch].speedup >= speed for batch, speed in wanted.items())
        if precision == "int8":
            told["cosine"] = by["int8", 1].cosine
            met = met and told["cosine"] >= 0.999
            for batch in wanted:
                share = by["int8", batch].peak / by["fp32", batch].peak
                told[f"memory, batch {batch}"] = share
                met = met and share <= 0.4
        found.append(Bar(what, words, told, met))
    return found


def agreement(given: Given) -> tuple[dict[str, float], bool]:
    """SRCC between the 8-bit file's scores and the float32 file's, and of both to humans."""
    rows = [row for row in given.rows if row.score is not None]
    human = [row.score or 0.0 for row in rows]
    full, small = (
        Scorer(given.file(name))([row.image for row in rows]) for name in ("fp32", "int8")
    )
    told = {
        "SRCC between them": srcc(small, full),
        "fp32 to humans": srcc(full, human),
        "int8 to humans": srcc(small, human),
    }
    between, before, after = told.values()
    return told, between >= 0.995 and before - after <= 0.005


def rates(given: Given) -> tuple[dict[str, float], bool]:
    """Pictures per second, and the share of what decoding and model allow."""
    pictures = [str(row.image) for row in given.rows[:RATED]]
    decoding, model, both = alone(
        measure_rates, given.file(), pictures, given.threads, given.rounds
    )
    share = both * (decoding + model) / (decoding * model)
    told = {"pictures/s": both, "decode, d": decoding, "model, m": model, "of d·m/(d+m)": share}
    return told, both >= 100 and share >= 0.9


def image_graph(given: Given) -> tuple[dict[str, float], bool]:
    """Pictures of many shapes through the graph that resizes and along Pillow's path."""
    scorer = Scorer(given.file(), threads=1)
    made = list(cut(given.photographs, TIMED))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model_image.onnx"
        export_image(given.file(), file, made[:1])
        joined = open_session(file)
    resized = open_session(pixels_model(scorer.preprocess))
    differences, equal = [], []
    for rgb in cut(given.photographs, SHAPES):
        pixels = resized.run(None, {"image": rgb})[0]
        equal.append(np.array_equal(pixels, scorer.preprocess.pixels(rgb)))
        differences.append(abs(joined.run(["score"], {"image": rgb})[0][0] - scorer(rgb)))
    times = resize_times(made, scorer.preprocess.size)
    ratio = float(np.median(times[:, 2] / times[:, :2].min(axis=1)))
    told = {
        "pictures with equal pixels": float(np.mean(equal)),
        "largest difference of scores": float(max(differences)),
        "resize, times ONNX Resize": ratio,
    }
    return told, all(equal) and max(differences) <= 1e-4 and ratio <= 2


def browser(given: Given) -> tuple[dict[str, float], bool]:
    """Photographs in headless Chromium and in Python."""
    model, some = given.student.model, given.photographs[:BROWSED]
    with TemporaryDirectory() as folder:
        export_web(model, folder)
        with serve(Path(folder)) as address:
            found = browse(address, some)
    shown = [path for path in some if path.name in found.scores]
    if not shown:
        raise InputError("the browser could read none of the photographs")
    off = np.abs([found.scores[path.name] for path in shown] - Scorer(model)(shown)).max()
    return {"largest difference": float(off), "photographs": len(shown)}, bool(off <= 0.02)


def explanations(given: Given) -> tuple[dict[str, float], bool]:
    """Degraded photographs whose fault is among the first meanings."""
    scorer = Scorer(given.student.model)
    pictures = degrade_all(scorer, given.photographs)
    bad = pictures.severity > 0
    share = float(pictures.among_first(*chances_of(scorer, pictures), TOP)[bad].mean())
    return {"share": share, "pictures": int(bad.sum())}, share >= 0.8


def memory(given: Given) -> tuple[dict[str, float], bool]:
    """MiB after the first thousand pictures, and the largest change from there on."""
    pictures = [str(row.image) for row in given.rows]
    held = alone(measure_memory, given.file(), pictures, given.count, given.threads)
    if len(held) < 2 or np.isnan(held).any():
        raise InputError("it takes 2,000 pictures, and Linux, which says what a process holds")
    change = max(abs(each / held[0] - 1) for each in held)
    told = {"pictures": given.count, "MiB after 1,000": held[0], "largest change": change}
    return told, change <= 0.05


_NEEDS = {
    "rows": "give --manifest FILE, with human scores",
    "photographs": "give --photographs DIR, undegraded",
}
_BARS: tuple[tuple[str, str, str, Callable[[Given], tuple[dict[str, float], bool]]], ...] = (
    (
        "int8 against fp32, by human scores",
        "SRCC between them ≥ 0.995, to humans lower by ≤ 0.005",
        "rows",
        agreement,
    ),
    (
        "files to scores",
        "≥ 100 pictures/s (two cores, 512 px), ≥ 0.9 of d·m/(d+m)",
        "rows",
        rates,
    ),
    (
        "model_image.onnx against Pillow",
        "pixels equal, scores within 1e-4, resize ≤ 2 times ONNX Resize",
        "photographs",
        image_graph,
    ),
    ("browser against Python", "scores within 0.02, in a real Chromium", "photographs", browser),
    (
        "explanations of degraded photographs",
        f"the fault among the first {TOP} in ≥ 0.8",
        "photographs",
        explanations,
    ),
    ("memory", "within 5 % of that after the first thousand pictures", "rows", memory),
)
