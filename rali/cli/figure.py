"""`rali figure`: the papers' figures for any model."""

from __future__ import annotations

import csv
import json
import platform
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import typer

from rali.errors import InputError

from ._model import MODEL_HELP, judge
from ._output import check_writable

app = typer.Typer(no_args_is_help=True, help="Draw the papers' figures for any model.")

Output = Annotated[Path, typer.Option("--output", "-o", dir_okay=False, help="The PNG to write.")]
Manifests = Annotated[
    list[Path], typer.Argument(metavar="MANIFEST...", help="CSV or Parquet manifests.")
]
SplitOption = Annotated[
    str | None, typer.Option(help="Only rows of this split: train, val or test.")
]


@app.command("efficiency")
def efficiency(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help=MODEL_HELP)],
    pictures: Annotated[Path, typer.Option(help="Folder of pictures to score.")],
    output: Output,
    batch_size: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Pictures side by side; repeat for more.", show_default="1 4 16"),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Pictures per measurement.")] = 16,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements; medians count.")] = 3,
) -> None:
    """Seconds and peak memory per picture over batch sizes (RALI, Fig. 6).

    Each measurement has a process of its own; they take turns. Writes a CSV beside the PNG.

    Example: rali figure efficiency builtin teacher:nano --pictures photos/ -o efficiency.png
    """
    from rali.pictures.read import find_pictures
    from rali.report.plots import curves, save_png

    check_writable(output)
    found = find_pictures([pictures])
    if not found:
        raise InputError(f"There are no pictures in {pictures}.")
    some = [found[place % len(found)] for place in range(count)]
    sizes = batch_size or [1, 4, 16]
    jobs = [(model, size) for _ in range(repeats) for model in models for size in sizes]
    measured: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for place, (model, size) in enumerate(jobs, 1):
        # A new process each, or the peak of one would be the floor of the next.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            told = pool.submit(measure, model, some, size).result()
        measured.setdefault((model, size), []).append(told)
        typer.echo(f"{place}/{len(jobs)} {model}, batch {size}: {told[0]:.3f} s", err=True)
    rows = [
        (model, size, statistics.median(s for s, _ in own), statistics.median(m for _, m in own))
        for (model, size), own in measured.items()
    ]
    with output.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["model", "batch_size", "seconds_per_picture", "peak_MiB", "machine"])
        table.writerows([*row, platform.machine()] for row in rows)
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {
        "seconds per picture": {}, "peak memory, MiB": {},
    }  # fmt: skip
    for model, size, seconds, memory in rows:
        panels["seconds per picture"].setdefault(model, []).append((size, seconds))
        panels["peak memory, MiB"].setdefault(model, []).append((size, memory))
    save_png(curves(panels, x="batch size", log=True), output)
    typer.echo(f"{output} and {output.with_suffix('.csv')}")


def measure(model: str, pictures: Sequence[Path], batch_size: int) -> tuple[float, float]:
    """Seconds per picture, after one picture to warm up, and the process's peak in MiB.

    A student runs in ONNX Runtime on the CPU. Of what ran on a GPU the peak is what torch allocated
    there.
    """
    from rali.scoring.speed import peak_memory

    judged = judge(model, batch_size)
    if isinstance(judged, str):
        from rali.scoring.scorer import Scorer

        judged = Scorer(judged, batch_size=batch_size)
    list(judged.score_many(list(pictures[:1])))
    start = time.perf_counter()
    told = list(judged.score_many(list(pictures)))
    seconds = (time.perf_counter() - start) / len(told)
    try:
        import torch
    except ImportError:
        return seconds, peak_memory()
    on_gpu = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else 0.0
    return seconds, on_gpu or peak_memory()


@app.command("parameters")
def parameters(
    evaluations: Annotated[
        list[str],
        typer.Argument(
            metavar="MILLIONS=FILE...",
            help="Parameters of a model in millions, and its evaluation.json.",
        ),
    ],
    output: Output,
    metric: Annotated[str, typer.Option(help="srcc, plcc, plcc_logistic or krcc.")] = "srcc",
    published: Annotated[
        bool, typer.Option("--published", help="The paper's two beside them, of its seven sets.")
    ] = False,
) -> None:
    """Accuracy against the number of parameters (RALI, Fig. 1).

    Example: rali figure parameters 1.9=small/evaluation.json 304=large/evaluation.json -o size.png
    """
    from rali.evaluation.suites import published_sizes
    from rali.metrics import METRICS
    from rali.report.plots import save_png, tradeoff

    check_writable(output)
    if metric not in METRICS:
        raise InputError(f"There is no metric {metric!r}; there are {', '.join(METRICS)}.")
    points = {(name, ""): at for name, at in published_sizes(metric).items()} if published else {}
    for item in evaluations:
        size, _, file = item.partition("=")
        try:
            millions, told = float(size), json.loads(Path(file).read_text("utf-8"))
            points[f"{told['model']}, {millions:g} M", ""] = millions, told["average"][metric]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{item!r}: expected millions of parameters, `=`, and an evaluation.json that "
                f"`rali evaluate -o` wrote ({error})."
            ) from error
    figure = tradeoff(
        points, x="parameters, millions", y=f"average {metric.upper()}",
        title="Accuracy against parameters",
    )  # fmt: skip
    save_png(figure, output)
    typer.echo(output)


@app.command("space")
def space(
    model: Annotated[str, typer.Argument(help="A model folder, a hub id or `builtin`.")],
    manifests: Manifests,
    output: Output,
    split: SplitOption = None,
) -> None:
    """The space in which a student reads scores, as a t-SNE map, by human and predicted score.

    Example: rali figure space runs/mine/model manifest.csv --split test -o space.png
    """
    from rali.evaluation.analysis import embed, map_2d, projected
    from rali.report.plots import save_png, score_maps

    check_writable(output)
    student, rows = _student_and_rows(model, manifests, split)
    embeddings = embed(student, [row.image for row in rows])
    points = map_2d(projected(student, embeddings))
    told = _scores(student, embeddings)
    human = [float(row.score or 0) for row in rows]
    save_png(score_maps({"human score": (points, human), "predicted": (points, told)}), output)
    typer.echo(output)


@app.command("scores")
def scores(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder of `rali distill`.")],
    manifests: Manifests,
    output: Output,
    split: SplitOption = None,
) -> None:
    """Histograms of scores before and after the bases were fitted.

    Example: rali figure scores runs/mine manifest.csv --split test -o scores.png
    """
    from rali.distill.unfitted import scores_before_and_after
    from rali.evaluation.analysis import embed
    from rali.report.plots import histograms, save_png

    check_writable(output)
    student, rows = _student_and_rows(str(run / "model"), manifests, split)
    embeddings = embed(student, [row.image for row in rows])
    before, after = scores_before_and_after(student, embeddings, run)
    human = [float(row.score or 0) for row in rows]
    save_png(histograms({"before fitting": before, "after fitting": after}, truth=human), output)
    typer.echo(output)


@app.command("calibration")
def calibration(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    manifests: Manifests,
    output: Output,
    split: SplitOption = None,
    bins: Annotated[int, typer.Option(min=2, help="Of equally many pictures.")] = 10,
) -> None:
    """Mean human score against mean predicted score, bin by bin.

    Example: rali figure calibration builtin manifest.csv --split test -o calibration.png
    """
    from rali.evaluation.analysis import calibration_curve
    from rali.evaluation.evaluate import labelled_rows, predict
    from rali.report.plots import calibration as draw
    from rali.report.plots import save_png

    from ._bar import scoring_bar

    check_writable(output)
    rows = [row for row in labelled_rows(manifests, split=split) if row.score is not None]
    with scoring_bar() as progress:
        told = predict(judge(model), [row.image for row in rows], progress=progress)
    curve = calibration_curve(
        [told[row.image] for row in rows], [float(row.score or 0) for row in rows], bins
    )
    save_png(draw(*curve, title=f"Calibration of {Path(model).name}"), output)
    typer.echo(output)


def _student_and_rows(model: str, manifests: list[Path], split: str | None) -> tuple[Any, Any]:
    from rali.evaluation.evaluate import labelled_rows
    from rali.student.student import Student

    rows = [row for row in labelled_rows(manifests, split=split) if row.score is not None]
    return Student.from_pretrained(model), rows


def _scores(student: Any, embeddings: Any) -> Any:
    import torch

    with torch.inference_mode():
        return student.score_embeddings(torch.from_numpy(embeddings)).numpy()
