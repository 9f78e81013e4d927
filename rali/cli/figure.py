"""`rali figure`: the papers' figures for any model."""

from __future__ import annotations

import math
import platform
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rali.errors import InputError
from rali.files import read_json, write_text

from ._bar import scoring_bar
from ._labelled import Manifests, Split
from ._model import PREDICTOR_HELP, STUDENT_HELP, predictor
from ._output import FIGURES, check_output, csv_text

if TYPE_CHECKING:
    from rali.data.manifest import Row
    from rali.student.student import Student

app = typer.Typer(
    no_args_is_help=True,
    help="Draw the papers' figures for any model.\n\n"
    "Example: rali figure calibration builtin manifest.csv -o calibration.png",
)

Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        dir_okay=False,
        help="The file to write: .png, .pdf or .svg.",
    ),
]


@app.command("efficiency")
def efficiency(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help=PREDICTOR_HELP)],
    pictures: Annotated[Path, typer.Option(metavar="DIR", help="The folder of pictures to score.")],
    output: Output,
    batch_size: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Pictures per forward pass; repeat for more sizes.",
            show_default="1, 4 and 16",
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, metavar="N", help="Pictures per measurement.")] = 16,
    repeats: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Measurements of each point; their median is shown."),
    ] = 3,
) -> None:
    """Draw seconds and peak memory per picture over batch sizes (RALI, Fig. 6).

    Measurements take turns, each in a process of its own. The numbers are written as CSV beside the
    figure.

    Example: rali figure efficiency builtin --pictures photos/ -o efficiency.png
    """
    from rali.pictures.read import find_pictures
    from rali.report.canvas import save_figure
    from rali.report.plots import curves

    check_output(output, FIGURES)
    found = find_pictures([pictures])
    if not found:
        raise InputError(f"There are no pictures in {pictures}.")
    some = [found[place % len(found)] for place in range(count)]
    sizes = batch_size or [1, 4, 16]
    jobs = [(model, size) for _ in range(repeats) for model in models for size in sizes]
    measured: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for place, (model, size) in enumerate(jobs, 1):
        # A process for each, as the peak of one would be the least that the next can show.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            seconds, memory = pool.submit(measure, model, some, size).result()
        measured.setdefault((model, size), []).append((seconds, memory))
        typer.echo(f"{place}/{len(jobs)} {model}, batch {size}: {seconds:.3f} s", err=True)
    rows = [
        (model, size, statistics.median(s for s, _ in own), statistics.median(m for _, m in own))
        for (model, size), own in measured.items()
    ]
    header = ["model", "batch_size", "seconds_per_picture", "peak_MiB", "machine"]
    lines = ([*row, platform.machine()] for row in rows)
    write_text(output.with_suffix(".csv"), csv_text(header, lines))
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {
        "seconds per picture": {}, "peak memory, MiB": {},
    }  # fmt: skip
    for model, size, seconds, memory in rows:
        panels["seconds per picture"].setdefault(model, []).append((size, seconds))
        panels["peak memory, MiB"].setdefault(model, []).append((size, memory))
    save_figure(curves(panels, x="batch size", log=True), output)
    typer.echo(f"{output} and {output.with_suffix('.csv')}")


def measure(model: str, pictures: Sequence[Path], batch_size: int) -> tuple[float, float]:
    """Seconds per picture, after one picture to warm up, and the process's peak in MiB.

    An exported student runs in ONNX Runtime on the CPU. For a model on a GPU the peak is what torch
    allocated there.
    """
    from rali.evaluation.predictors import find_predictor
    from rali.scoring.speed import peak_memory

    chosen = find_predictor(predictor(model, batch_size), batch_size)
    list(chosen.score_many(list(pictures[:1])))
    start = time.perf_counter()
    results = list(chosen.score_many(list(pictures)))
    seconds = (time.perf_counter() - start) / len(results)
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
            help="A model's parameters in millions, and the evaluation.json that `rali evaluate "
            "-o` wrote for it.",
        ),
    ],
    output: Output,
    metric: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="The accuracy to show: srcc, plcc, plcc_logistic or krcc."
        ),
    ] = "srcc",
    published: Annotated[
        bool,
        typer.Option(
            "--published",
            help="Also show the paper's two models, with their averages of its seven data sets.",
        ),
    ] = False,
) -> None:
    """Draw accuracy against the number of parameters (RALI, Fig. 1).

    Example: rali figure parameters 1.9=small.json 304=large.json -o size.png
    """
    from rali.evaluation.published import published_sizes
    from rali.metrics import METRICS, short_name
    from rali.report.canvas import save_figure
    from rali.report.evaluation import Evaluation
    from rali.report.plots import tradeoff

    check_output(output, FIGURES)
    if metric not in METRICS:
        raise InputError(f"There is no metric {metric!r}; there are {', '.join(METRICS)}.")
    points = {(name, ""): at for name, at in published_sizes(metric).items()} if published else {}
    for item in evaluations:
        size, _, file = item.partition("=")
        try:
            if not 0 < (millions := float(size)) < math.inf:
                raise ValueError(f"{size} is no number of parameters")
            evaluation = Evaluation.from_dict(read_json(Path(file), "Evaluate again."))
            accuracy = evaluation.average[metric]
        except (ValueError, LookupError, TypeError, AttributeError, InputError) as error:
            raise InputError(
                f"{item!r}: expected millions of parameters, `=`, and an evaluation.json that "
                f"`rali evaluate -o` wrote ({error})."
            ) from error
        points[f"{evaluation.model}, {millions:g} M", ""] = millions, accuracy
    figure = tradeoff(
        points, x="parameters, millions", y=f"average {short_name(metric)}",
        title="Accuracy against parameters",
    )  # fmt: skip
    save_figure(figure, output)
    typer.echo(output)


@app.command("space")
def space(
    model: Annotated[str, typer.Argument(help=STUDENT_HELP)],
    manifests: Manifests,
    output: Output,
    split: Split = None,
) -> None:
    """Draw a t-SNE map of the space in which a student reads scores.

    One map is coloured by human scores, the other by predicted ones.

    Example: rali figure space builtin manifest.csv --split test -o space.png
    """
    from rali.evaluation.analysis import map_2d, projected, scores_of
    from rali.report.canvas import save_figure
    from rali.report.maps import score_maps

    check_output(output, FIGURES)
    student, rows, human = _student_and_rows(model, manifests, split)
    embeddings = student.embed([row.image for row in rows])
    points = map_2d(projected(student, embeddings))
    predicted = scores_of(student, embeddings)
    save_figure(
        score_maps({"human score": (points, human), "predicted": (points, predicted)}), output
    )
    typer.echo(output)


@app.command("scores")
def scores(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder that `rali distill` wrote.")],
    manifests: Manifests,
    output: Output,
    split: Split = None,
) -> None:
    """Draw histograms of a student's scores before and after its bases were fitted.

    Example: rali figure scores runs/mine manifest.csv --split test -o scores.png
    """
    from rali.distill.unfitted import scores_before_and_after
    from rali.report.canvas import save_figure
    from rali.report.plots import histograms

    check_output(output, FIGURES)
    student, rows, human = _student_and_rows(str(run / "model"), manifests, split)
    embeddings = student.embed([row.image for row in rows])
    before, after = scores_before_and_after(student, embeddings, run)
    save_figure(histograms({"before fitting": before, "after fitting": after}, truth=human), output)
    typer.echo(output)


@app.command("calibration")
def calibration(
    model: Annotated[str, typer.Argument(help=PREDICTOR_HELP)],
    manifests: Manifests,
    output: Output,
    split: Split = None,
    bins: Annotated[
        int,
        typer.Option(min=2, metavar="N", help="How many bins. Each holds equally many pictures."),
    ] = 10,
) -> None:
    """Draw the mean human score against the mean predicted score, bin by bin.

    Example: rali figure calibration builtin manifest.csv -o calibration.png
    """
    from rali.evaluation.analysis import calibration_curve
    from rali.evaluation.evaluate import labelled_rows, predict
    from rali.report.canvas import save_figure
    from rali.report.plots import calibration as draw

    check_output(output, FIGURES)
    rows = [row for row in labelled_rows(manifests, split=split) if row.score is not None]
    with scoring_bar() as progress:
        scores = predict(predictor(model), [row.image for row in rows], progress=progress)
    curve = calibration_curve(
        [scores[row.image] for row in rows], [float(row.score or 0) for row in rows], bins
    )
    save_figure(draw(*curve, title=f"Calibration of {Path(model).name}"), output)
    typer.echo(output)


def _student_and_rows(
    model: str, manifests: list[Path], split: str | None
) -> tuple[Student, list[Row], list[float]]:
    """A student, the labelled rows of manifests, and their scores."""
    from rali.evaluation.evaluate import labelled_rows
    from rali.student.student import Student

    rows = [row for row in labelled_rows(manifests, split=split) if row.score is not None]
    return Student.from_pretrained(model), rows, [float(row.score or 0) for row in rows]
