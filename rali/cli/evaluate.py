"""`rali evaluate`: a model against the human scores of manifests, as a table, JSON or files."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rali.errors import InputError

from ._bar import scoring_bar
from ._model import MODEL_HELP, judge

if TYPE_CHECKING:
    from rali.data.manifest import Row


def evaluate(
    model: Annotated[str, typer.Argument(help=MODEL_HELP)],
    manifests: Annotated[
        list[Path], typer.Argument(metavar="MANIFEST...", help="CSV or Parquet manifests.")
    ],
    split: Annotated[
        str | None, typer.Option(help="Only rows of this split: train, val or test.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
    suite: Annotated[
        str | None,
        typer.Option(
            help="A paper's table with this model's row: q-insight, rali, ract, visualquality-r1, "
            "sriqa-bench or degradation."
        ),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="Of the suite: markdown, latex, csv or json.")
    ] = "markdown",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Also write evaluation.json, evaluation.md, predictions.csv and scatter.png here; "
            "of a suite its table in all forms.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per forward pass.")] = 8,
    prompt: Annotated[
        str | None,
        typer.Option(
            help="By which a teacher is asked for a score.", show_default="visualquality-r1/score"
        ),
    ] = None,
    unscored: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=5,
            help="What a picture counts as that gets no score, as when a teacher's answers hold "
            "none.",
            show_default="stop and say which",
        ),
    ] = None,
) -> None:
    """Compare a model's scores with people's: SRCC, PLCC, KRCC and RMSE with 95 % intervals.

    Example: rali evaluate builtin koniq.csv spaq.csv --split test -o results/

    A suite takes the manifests that you have, and of each the test split where there is one. Data
    sets that you do not have are dashes.

    Example: rali evaluate builtin koniq.csv csiq.csv --suite rali
    """
    from rali.evaluation.evaluate import evaluate as run
    from rali.evaluation.evaluate import labelled_rows
    from rali.report.evaluation import NOTE, remarks, to_table

    if output is not None:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--output {output} is no folder that can be made: {error.strerror}."
            ) from error
    if suite is not None and split is not None:
        raise InputError(
            "A suite takes the test split where there is one, else all rows; leave out --split."
        )
    judged = judge(model, batch_size, prompt)
    if suite is not None:
        form = "json" if as_json else form
        _suite(suite, form, model, judged, manifests, output, batch_size, unscored)
        return
    with scoring_bar() as progress:
        evaluation, predictions = run(
            judged,
            manifests,
            split=split,
            batch_size=batch_size,
            unscored=unscored,
            progress=progress,
        )
    evaluation["model"] = model
    if output is not None:
        _write(output, evaluation, predictions, labelled_rows(manifests, split=split))
    if as_json:
        typer.echo(json.dumps(evaluation, indent=2, allow_nan=False, ensure_ascii=False))
        return
    from rich.console import Console

    console = Console()
    console.print(to_table(evaluation))
    console.print(NOTE, style="dim")
    for sentence in remarks(evaluation):
        console.print(sentence, markup=False, highlight=False)
    if output is not None:
        console.print(f"Written to {output}", markup=False, highlight=False)


def _suite(
    name: str, form: str, model: str, judged: Any, manifests: list[Path], output: Path | None,
    batch_size: int, unscored: float | None,
) -> None:  # fmt: skip
    from rali.data.manifest import read_manifest
    from rali.evaluation.evaluate import predict
    from rali.evaluation.suite_text import FORMATS, render
    from rali.evaluation.suites import degradation_of, degradation_table, suite_rows, suite_table

    if form not in FORMATS:
        raise InputError(f"There is no form {form!r}; there are {', '.join(FORMATS)}.")
    rows = suite_rows(name, [row for path in manifests for row in read_manifest(path)])
    pictures = list(dict.fromkeys(row.image for row in rows))
    with scoring_bar() as progress:
        if name == "degradation":
            if not hasattr(judged, "perceive"):
                raise InputError(
                    f"The suite 'degradation' asks a teacher what it sees; {model} only scores. "
                    "Give a teacher's folder, or teacher:NAME."
                )
            told = []
            for found in judged.perceive(pictures):
                told.append(found)
                progress(len(told), len(pictures))
            table = degradation_table(model, [degradation_of(row) for row in rows], told)
        else:
            predictions = predict(
                judged, pictures, batch_size=batch_size, unscored=unscored, progress=progress
            )
            table = suite_table(name, model, rows, predictions)
    if output is not None:
        for kind, ending in zip(FORMATS, ("md", "tex", "csv", "json"), strict=True):
            (output / f"{name}.{ending}").write_text(render(table, kind), "utf-8")
    typer.echo(render(table, form), nl=False)


def _write(
    folder: Path, evaluation: dict[str, Any], predictions: dict[Path, float], rows: list[Row]
) -> None:
    from rali.errors import MissingExtraError, require
    from rali.report.evaluation import to_markdown

    labelled = [row for row in rows if row.score is not None]
    text = json.dumps(evaluation, indent=2, allow_nan=False, ensure_ascii=False)
    (folder / "evaluation.json").write_text(text + "\n", encoding="utf-8")
    (folder / "evaluation.md").write_text(to_markdown(evaluation), encoding="utf-8")
    with (folder / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "dataset", "content", "split", "score", "predicted", "error"])
        for row in labelled:
            predicted, score = predictions[row.image], float(row.score or 0.0)
            image = os.path.relpath(row.image, folder) if _near(row.image, folder) else row.image
            numbers = (f"{score:.6g}", f"{predicted:.6g}", f"{predicted - score:.6g}")
            table.writerow([image, row.dataset, row.content, row.split, *numbers])
    try:
        require("matplotlib", "distill")
    except MissingExtraError:
        typer.echo("rali: no scatter.png, it needs: pip install matplotlib", err=True)
        return
    from rali.report.plots import residual_band, save_png, scatter

    predicted_scores = [predictions[row.image] for row in labelled]
    mos = [float(row.score or 0.0) for row in labelled]
    figure = scatter(
        predicted_scores,
        mos,
        groups=[row.dataset or "unnamed" for row in labelled],
        band=residual_band(predicted_scores, mos),
        title=f"{Path(evaluation['model']).name}: predicted against human scores",
    )
    save_png(figure, folder / "scatter.png")


def _near(picture: Path, folder: Path) -> bool:
    """Relative paths only where they hold on another machine: pictures inside the folder."""
    return folder.resolve() in picture.resolve().parents
