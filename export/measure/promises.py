"""What rali promises for a student on a device: each promise is a bar with what was measured.

A bar that was not measured says what it needs. Speeds come from the measurements of
`rali.export.measure.speed`; the rest is measured here, on photographs and on a manifest with human
scores.
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
from rali.runs.progress import Progress, silent
from rali.scoring.scorer import Scorer
from rali.scoring.speed import measure_memory, measure_rates

from ..image import export_image
from ..resize import pixels_model
from ..web import export_web
from .browser import serve, visit
from .explanations import chances_of, degrade_all
from .resizing import cut, open_session, resize_times
from .speed import TORCH, Measurement, Subject, alone

LARGE = "ViT-L-14-336"
RATED = 256  # pictures whose rate is measured
SHAPES = 200  # pictures of many shapes for the graph that resizes
TIMED = 24  # pictures of these whose resize is timed
VISITED_WITH = 12  # photographs that the browser scores
TOP = 3  # explanations


@dataclass(frozen=True)
class Bar:
    """One promise.

    Attributes:
        what, bar: what is measured, and what it should reach.
        measured: numbers by name.
        met: None where it was not measured; `why` then says what is missing.
    """

    what: str
    bar: str
    measured: Mapping[str, float] = field(default_factory=dict)
    met: bool | None = None
    why: str = ""


@dataclass(frozen=True)
class Material:
    """What bars are measured on.

    Attributes:
        student: a trained student, measured in float32 unless a bar says otherwise.
        rows: pictures with human scores.
        photographs: undegraded ones that neither the model nor its phrases were trained on.
        count: pictures that are scored while memory is watched.
    """

    student: Subject
    rows: Sequence[Row] = ()
    photographs: Sequence[Path] = ()
    count: int = 50_000
    threads: int = 1
    rounds: int = 5

    def file(self, precision: str = "fp32") -> str:
        """The student's ONNX file.

        Raises:
            InputError: the student was not prepared in this precision.
        """
        if precision not in self.student.files:
            raise InputError(f"Give --precision {precision}.")
        return str(self.student.files[precision])


def bars(
    measurements: Sequence[Measurement], material: Material | None, progress: Progress = silent
) -> list[Bar]:
    """Every bar, in the order of the documentation; one that cannot be measured says what it needs.

    Args:
        measurements: what `rali.export.measure.speed.bench` found.
        material: None where no model is trained.
    """
    found = speed_bars(measurements)
    for what, bar, needs, measure in _BARS:
        if material is None:
            found.append(Bar(what, bar, why="Give a trained model, such as builtin."))
        elif not getattr(material, needs):
            found.append(Bar(what, bar, why=_NEEDS[needs]))
        else:
            progress(what, 0, 1)
            try:
                found.append(Bar(what, bar, *measure(material)))
            except RaliError as error:
                found.append(Bar(what, bar, why=str(error)))
            progress(what, 1, 1)
    return found


def speed_bars(measurements: Sequence[Measurement]) -> list[Bar]:
    """The bars of ViT-L/14-336 against torch's own float32."""
    large = [each for each in measurements if each.model.startswith(LARGE)]
    by = {(each.precision, each.batch): each for each in large}
    found = []
    for precision, wanted in (("fp32", {1: 0.93, 4: 0.93}), ("int8", {1: 2.2, 4: 3.0})):
        what = f"{LARGE} {precision} against torch's fp32"
        words = ", ".join(f"≥ {speed} at batch {batch}" for batch, speed in wanted.items())
        if precision == "int8":
            words += ", memory ≤ 0.4 of fp32's, cosine ≥ 0.999"
        needed = {TORCH, "fp32", precision}
        if not all((each, batch) in by for each in needed for batch in wanted):
            more = "" if precision == "fp32" else f" --precision {precision}"
            why = f"Give {LARGE}, --precision fp32{more}, --batch 1 --batch 4."
            found.append(Bar(what, words, why=why))
            continue
        values = {f"speedup, batch {batch}": by[precision, batch].speedup for batch in wanted}
        met = all(by[precision, batch].speedup >= speed for batch, speed in wanted.items())
        if precision == "int8":
            values["cosine"] = by["int8", 1].cosine
            met = met and values["cosine"] >= 0.999
            for batch in wanted:
                share = by["int8", batch].peak / by["fp32", batch].peak
                values[f"memory, batch {batch}"] = share
                met = met and share <= 0.4
        found.append(Bar(what, words, values, met))
    return found


def agreement(material: Material) -> tuple[dict[str, float], bool]:
    """SRCC between the 8-bit file's scores and the float32 file's, and of both to humans."""
    rows = [row for row in material.rows if row.score is not None]
    human = [row.score or 0.0 for row in rows]
    full, small = (
        Scorer(material.file(name))([row.image for row in rows]) for name in ("fp32", "int8")
    )
    between, before, after = srcc(small, full), srcc(full, human), srcc(small, human)
    values = {
        "SRCC between them": between,
        "fp32 to humans": before,
        "int8 to humans": after,
    }
    return values, between >= 0.995 and before - after <= 0.005


def rates(material: Material) -> tuple[dict[str, float], bool]:
    """Pictures per second, and their share of what decoding and the model allow."""
    pictures = [str(row.image) for row in material.rows[:RATED]]
    decoding, model, both = alone(
        measure_rates, material.file(), pictures, material.threads, material.rounds
    )
    share = both * (decoding + model) / (decoding * model)
    values = {"pictures/s": both, "decode, d": decoding, "model, m": model, "of d·m/(d+m)": share}
    return values, both >= 100 and share >= 0.9


def image_graph(material: Material) -> tuple[dict[str, float], bool]:
    """Pictures of many shapes, through the graph that resizes and along Pillow's path."""
    scorer = Scorer(material.file(), threads=1)
    made = list(cut(material.photographs, TIMED))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "image.onnx"
        export_image(material.file(), file, made[:1])
        joined = open_session(file)
    resized = open_session(pixels_model(scorer.preprocess))
    differences, equal = [], []
    for rgb in cut(material.photographs, SHAPES):
        pixels = resized.run(None, {"image": rgb})[0]
        equal.append(np.array_equal(pixels, scorer.preprocess.pixels(rgb)))
        differences.append(abs(joined.run(["score"], {"image": rgb})[0][0] - scorer(rgb)))
    times = resize_times(made, scorer.preprocess.size)
    ratio = float(np.median(times[:, 2] / times[:, :2].min(axis=1)))
    values = {
        "pictures with equal pixels": float(np.mean(equal)),
        "largest difference of scores": float(max(differences)),
        "resize, times ONNX Resize": ratio,
    }
    return values, all(equal) and max(differences) <= 1e-4 and ratio <= 2


def browser(material: Material) -> tuple[dict[str, float], bool]:
    """Scores of photographs in headless Chromium and in Python."""
    model, some = material.student.model, material.photographs[:VISITED_WITH]
    with TemporaryDirectory() as folder:
        export_web(model, folder)
        with serve(Path(folder)) as address:
            page = visit(address, some)
    shown = [path for path in some if path.name in page.scores]
    if not shown:
        raise InputError("The browser could read none of the photographs.")
    off = np.abs([page.scores[path.name] for path in shown] - Scorer(model)(shown)).max()
    return {"largest difference": float(off), "photographs": len(shown)}, bool(off <= 0.02)


def explanations(material: Material) -> tuple[dict[str, float], bool]:
    """The share of degraded photographs whose fault is among the first meanings."""
    scorer = Scorer(material.student.model)
    pictures = degrade_all(scorer, material.photographs)
    bad = pictures.severity > 0
    share = float(pictures.among_first(*chances_of(scorer, pictures), TOP)[bad].mean())
    return {"share": share, "pictures": int(bad.sum())}, share >= 0.8


def memory(material: Material) -> tuple[dict[str, float], bool]:
    """MiB after the first thousand pictures, and the largest relative change from there on."""
    pictures = [str(row.image) for row in material.rows]
    held = alone(measure_memory, material.file(), pictures, material.count, material.threads)
    if len(held) < 2 or np.isnan(held).any():
        raise InputError("It takes 2,000 pictures, and Linux, where a process can see its memory.")
    change = max(abs(each / held[0] - 1) for each in held)
    values = {"pictures": material.count, "MiB after 1,000": held[0], "largest change": change}
    return values, change <= 0.05


_NEEDS = {
    "rows": "Give --manifest FILE, with human scores.",
    "photographs": "Give --photographs DIR, undegraded.",
}
_BARS: tuple[tuple[str, str, str, Callable[[Material], tuple[dict[str, float], bool]]], ...] = (
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
