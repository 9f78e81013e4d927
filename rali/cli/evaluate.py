"""`rali evaluate`: a model against the human scores of manifests, as a table, JSON or files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rali.errors import InputError
from rali.files import write_text
from rali.pictures.paths import path_text

from ._answers import saying_use
from ._bar import scoring_bar
from ._labelled import BatchSize, Manifests, Split
from ._model import PREDICTOR_HELP, Provider, Threads, predictor
from ._output import csv_text
from ._teacher import (
    BaseUrl,
    EngineName,
    EngineSet,
    MaxPixels,
    MinPixels,
    OwnMaxTokens,
    OwnPrompt,
    OwnSamples,
    SuiteTemperature,
    TopK,
    TopP,
    engine_of,
)

if TYPE_CHECKING:
    from rali.data.manifest import Row
    from rali.evaluation.predictors import Predictor
    from rali.report.evaluation import Evaluation
    from rali.teacher.requests import Engine


def evaluate(
    model: Annotated[str, typer.Argument(help=PREDICTOR_HELP)],
    manifests: Manifests,
    split: Split = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
    suite: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Print a paper's table with a row for this model: q-insight, rali, ract, "
            "visualquality-r1, sriqa-bench or degradation.",
            show_default="no suite",
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="How the suite's table is printed: markdown, latex, csv or json.",
        ),
    ] = "markdown",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Also write evaluation.json, evaluation.md, predictions.csv and scatter.png into "
            "this folder; for a suite, its table in every format. A teacher's texts are kept in "
            "texts.jsonl there, what its server took in server.json; a stopped command resumes.",
            show_default="the screen alone",
        ),
    ] = None,
    batch_size: BatchSize = 8,
    prompt: OwnPrompt = None,
    samples: OwnSamples = None,
    temperature: SuiteTemperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    max_tokens: OwnMaxTokens = None,
    unscored: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=5,
            metavar="SCORE",
            help="Count a picture without a score as this score, from 1 to 5. A teacher's answers "
            "may contain none.",
            show_default="stop and name the pictures",
        ),
    ] = None,
    provider: Provider = None,
    threads: Threads = None,
    engine: EngineName = "transformers",
    base_url: BaseUrl = None,
    engine_set: EngineSet = None,
    min_pixels: MinPixels = None,
    max_pixels: MaxPixels = None,
) -> None:
    """Compare a model's scores with people's: SRCC, PLCC, KRCC and RMSE with 95 % intervals.

    A suite uses the manifests that you have, and of each the test split if it has one. Data sets
    that you do not have are dashes.

    Example: rali evaluate builtin koniq.csv spaq.csv --split test -o results/
    """
    from rali.evaluation.evaluate import evaluate as run
    from rali.evaluation.evaluate import labelled_rows
    from rali.report.evaluation import NOTE, remarks, to_table
    from rali.teacher.predictor import TeacherPredictor

    if output is not None:
        if output.suffix in (".json", ".csv", ".md", ".png") and not output.is_dir():
            raise InputError(
                f"--output {output} names a file; it is a folder. Type: --output "
                f"{output.with_suffix('')}; or, for the numbers alone: --json > {output}"
            )
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--output {output} cannot be made a folder: {error.strerror}."
            ) from error
    if suite is not None and split is not None:
        raise InputError(
            "A suite uses the test split if there is one, else all rows; leave out --split."
        )

    def made(name: str) -> Engine:
        return engine_of(engine, name, batch_size, max_pixels, min_pixels, engine_set, base_url)

    typed = {
        "engine": engine != "transformers", "base_url": base_url, "engine_set": engine_set,
        "min_pixels": min_pixels, "max_pixels": max_pixels,
    }  # fmt: skip
    own = [name for name, value in typed.items() if value]
    asked = {
        "prompt": prompt, "samples": samples, "temperature": temperature, "top_p": top_p,
        "top_k": top_k, "max_new_tokens": max_tokens,
    }  # fmt: skip
    if suite == "degradation" and (prompt or samples):
        raise InputError(
            "The suite 'degradation' asks each picture once with a prompt of its own; leave out "
            "--prompt and --samples."
        )
    texts = None if output is None else output / "texts.jsonl"
    chosen = predictor(
        model, batch_size, asked, provider, threads, made if own else None, texts, own
    )
    asked_as = chosen.decoding.words() if isinstance(chosen, TeacherPredictor) else ""
    meter = chosen.meter if isinstance(chosen, TeacherPredictor) else None
    if suite is not None:
        if isinstance(chosen, TeacherPredictor):
            how = chosen.perceiving if suite == "degradation" else chosen.decoding
            typer.echo(f"asked: {how.words()}", err=True)
        form = "json" if as_json else form
        with saying_use(meter):
            _suite(suite, form, model, chosen, manifests, output, batch_size, unscored)
        return
    with saying_use(meter), scoring_bar() as progress:
        evaluation, predictions = run(
            chosen,
            manifests,
            split=split,
            batch_size=batch_size,
            unscored=unscored,
            progress=progress,
        )
    used = meter.used if meter else None
    evaluation = replace(evaluation, model=model, asked=asked_as, server=used)
    if output is not None:
        _write(output, evaluation, predictions, labelled_rows(manifests, split=split))
    if as_json:
        typer.echo(_json(evaluation))
        return
    from rich.console import Console

    console = Console()
    console.print(to_table(evaluation))
    console.print(NOTE, style="dim")
    for sentence in remarks(evaluation):
        console.print(sentence, markup=False, highlight=False)
    if output is not None:
        console.print(f"Written to {output}.", markup=False, highlight=False)


def _suite(
    name: str, form: str, model: str, chosen: str | Predictor, manifests: list[Path],
    output: Path | None, batch_size: int, unscored: float | None,
) -> None:  # fmt: skip
    from rali.data.manifest import read_manifest
    from rali.evaluation.degradation_suite import degradation_of, degradation_table
    from rali.evaluation.evaluate import predict_all
    from rali.evaluation.predictors import find_predictor
    from rali.evaluation.suite_text import FORMATS, render
    from rali.evaluation.suites import suite_rows, suite_table

    if form not in FORMATS:
        raise InputError(f"--format is {form!r}; expected {', '.join(FORMATS)}.")
    every = [row for path in manifests for row in read_manifest(path)]
    rows = suite_rows(name, every)
    pictures = list(dict.fromkeys(row.image for row in rows))
    with scoring_bar() as progress:
        if name == "degradation":
            if not hasattr(chosen, "perceive"):
                raise InputError(
                    f"The suite 'degradation' asks a teacher what it sees; {model} only scores. "
                    "Give a teacher's folder, or teacher:NAME."
                )
            answers = {}
            for picture, answer in zip(pictures, chosen.perceive(pictures), strict=True):
                answers[picture] = answer
                progress("ask", len(answers), len(pictures))
            table = degradation_table(
                model, [degradation_of(row) for row in rows], [answers[row.image] for row in rows]
            )
        else:
            predictions, substituted = predict_all(
                find_predictor(chosen, batch_size), pictures, unscored=unscored, progress=progress
            )
            table = suite_table(name, model, every, predictions)
            if substituted:
                table = replace(table, notes=(*table.notes, substituted.sentence))
    if output is not None:
        for kind, ending in zip(FORMATS, ("md", "tex", "csv", "json"), strict=True):
            write_text(output / f"{name}.{ending}", render(table, kind))
    typer.echo(render(table, form), nl=False)


def _json(evaluation: Evaluation) -> str:
    return json.dumps(evaluation.to_dict(), indent=2, allow_nan=False, ensure_ascii=False)


def _write(
    folder: Path, evaluation: Evaluation, predictions: Mapping[Path, float], rows: Sequence[Row]
) -> None:
    from rali.errors import MissingExtraError, require
    from rali.report.evaluation import to_markdown

    labelled = [row for row in rows if row.score is not None]
    write_text(folder / "evaluation.json", _json(evaluation) + "\n")
    write_text(folder / "evaluation.md", to_markdown(evaluation))
    header = ["image", "dataset", "content", "split", "score", "predicted", "error"]
    lines = []
    for row in labelled:
        predicted, score = predictions[row.image], float(row.score or 0.0)
        near = _near(row.image, folder)
        image = path_text(os.path.relpath(row.image, folder) if near else row.image)
        numbers = (f"{score:.6g}", f"{predicted:.6g}", f"{predicted - score:.6g}")
        lines.append([image, row.dataset, row.content, row.split, *numbers])
    write_text(folder / "predictions.csv", csv_text(header, lines))
    try:
        require("matplotlib", "distill")
    except MissingExtraError:
        typer.echo("rali: scatter.png is left out. Type: pip install matplotlib", err=True)
        return
    from rali.report.canvas import save_figure
    from rali.report.plots import residual_band, scatter

    predicted_scores = [predictions[row.image] for row in labelled]
    mos = [float(row.score or 0.0) for row in labelled]
    figure = scatter(
        predicted_scores,
        mos,
        groups=[row.dataset or "unnamed" for row in labelled],
        band=residual_band(predicted_scores, mos),
        title=f"{Path(evaluation.model).name}: predicted against human scores",
    )
    save_figure(figure, folder / "scatter.png")


def _near(picture: Path, folder: Path) -> bool:
    """Relative paths only where they hold on another machine: pictures inside the folder."""
    return folder.resolve() in picture.resolve().parents
