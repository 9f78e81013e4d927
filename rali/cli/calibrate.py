"""`rali calibrate`: how far a model's scores are from people's, stored for `rali score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rali.errors import InputError

from ._bar import scoring_bar
from ._labelled import BatchSize, Manifests

LEVELS = (0.5, 0.8, 0.9)


def calibrate(
    model: Annotated[
        Path, typer.Argument(help="A model folder; interval.json is written into it.")
    ],
    manifests: Manifests,
    split: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Use only rows of this split. The model must not have been trained on it.",
        ),
    ] = "val",
    batch_size: BatchSize = 8,
) -> None:
    """Measure how far a model's scores are from people's, for `rali score --interval`.

    The intervals are split-conformal. They need labelled pictures that the model was not trained
    on, 20 or more.

    Example: rali calibrate runs/mine/model manifest.csv --split val
    """
    from rali.evaluation.evaluate import labelled_rows, predict
    from rali.evaluation.predictors import find_predictor
    from rali.scoring.intervals import calibrate as run
    from rali.scoring.intervals import write_interval
    from rali.scoring.model_folder import is_head

    if not model.is_dir():
        raise InputError(f"There is no model folder {model}.")
    if is_head(model):
        raise InputError(
            f"{model} is a head, whose interval `rali distill --features` measures on split val."
        )
    rows = [row for row in labelled_rows(manifests, split=split) if row.score is not None]
    pictures = [row.image for row in rows]
    with scoring_bar() as progress:
        predictor = find_predictor(model, batch_size)
        scores = predict(predictor, pictures, batch_size=batch_size, progress=progress)
    interval = run(
        [scores[row.image] for row in rows],
        [float(row.score or 0) for row in rows],
        source=f"{', '.join(path.name for path in manifests)}, {split}",
        weights_sha256=getattr(predictor, "weights_sha256", ""),
    )
    path = write_interval(interval, model)
    widths = ", ".join(f"{level:.0%} ±{interval.radius(level):.2f}" for level in LEVELS)
    typer.echo(f"{path}: {len(rows)} pictures; {widths}.")
