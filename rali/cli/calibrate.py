"""`rali calibrate`: how far a model's scores are from people's, stored for `rali score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rali.errors import InputError

from ._bar import scoring_bar

LEVELS = (0.5, 0.8, 0.9)


def calibrate(
    model: Annotated[Path, typer.Argument(help="A model folder.")],
    manifests: Annotated[
        list[Path], typer.Argument(metavar="MANIFEST...", help="CSV or Parquet manifests.")
    ],
    split: Annotated[
        str, typer.Option(help="Rows to calibrate on; never those it was trained on.")
    ] = "val",
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures per forward pass.")] = 8,
) -> None:
    """Calibrate intervals: split-conformal, from labelled pictures that were not trained on.

    Example: rali calibrate runs/mine/model manifest.csv --split val
    """
    from rali.evaluation.evaluate import labelled_rows, predict
    from rali.scoring.intervals import calibrate as run
    from rali.scoring.intervals import write_interval

    if not model.is_dir():
        raise InputError(f"There is no model folder {model}.")
    rows = [r for r in labelled_rows(manifests, split=split) if r.score is not None]
    with scoring_bar() as progress:
        found = predict(model, [r.image for r in rows], batch_size=batch_size, progress=progress)
    interval = run(
        [found[row.image] for row in rows],
        [float(row.score or 0) for row in rows],
        source=f"{', '.join(path.name for path in manifests)}, {split}",
    )
    path = write_interval(interval, model)
    widths = ", ".join(f"{level:.0%} ±{interval.radius(level):.2f}" for level in LEVELS)
    typer.echo(f"{path}: {len(rows)} pictures; {widths}.")
