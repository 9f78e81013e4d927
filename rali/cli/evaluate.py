"""`rali evaluate`: a model against the human scores of manifests, as a table, JSON or files."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rali.cli._bar import scoring_bar
from rali.errors import InputError

if TYPE_CHECKING:
    from rali.manifest import Row


def evaluate(
    model: Annotated[
        str, typer.Argument(help="A model folder, an ONNX file, a hub id, or `builtin`.")
    ],
    manifests: Annotated[
        list[Path], typer.Argument(metavar="MANIFEST...", help="CSV or Parquet manifests.")
    ],
    split: Annotated[
        str | None, typer.Option(help="Only rows of this split: train, val or test.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Also write evaluation.json, evaluation.md, predictions.csv and scatter.png here.",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per forward pass.")] = 8,
) -> None:
    """Compare a model's scores with people's: SRCC, PLCC, KRCC and RMSE with 95 % intervals.

    Example: rali evaluate builtin koniq.csv spaq.csv --split test -o results/
    """
    from rali.evaluate import NOTE, labelled_rows, remarks, to_table
    from rali.evaluate import evaluate as run

    if output is not None:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--output {output} is no folder that can be made: {error.strerror}."
            ) from error
    with scoring_bar() as progress:
        evaluation, predictions = run(
            model, manifests, split=split, batch_size=batch_size, progress=progress
        )
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


def _write(
    folder: Path, evaluation: dict[str, Any], predictions: dict[Path, float], rows: list[Row]
) -> None:
    from rali.errors import MissingExtraError, require
    from rali.evaluate import to_markdown

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
    from rali.plots import residual_band, save_png, scatter

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
