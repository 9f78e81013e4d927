"""A model against people's scores: predictions for manifests, and how well they agree.

In: a model and manifests, or predictions already made and their rows. Out: an `Evaluation`. Nothing
is dropped silently: unlabelled rows are counted, and a missing score is an error that names the
picture.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from rali.data.datasets import dataset_names
from rali.data.manifest import Row, read_manifest, select
from rali.errors import InputError
from rali.report.evaluation import Coverage, Evaluation, Statistics, Unscored
from rali.runs.progress import Progress, silent
from rali.scoring.intervals import Interval, read_interval
from rali.scoring.model_folder import INTERVAL_FILE, find_file

from .predictors import Predictor, find_predictor

LEVEL = 0.9  # of the interval whose coverage is measured


def evaluate(
    model: str | Path | Predictor,
    manifests: Sequence[str | Path],
    *,
    split: str | None = None,
    batch_size: int = 8,
    unscored: float | None = None,
    progress: Progress = silent,
) -> tuple[Evaluation, dict[Path, float]]:
    """Score every labelled picture of the manifests and compare with people's scores.

    Args:
        model: "builtin", a model folder, an ONNX file, a Hub id, or a `Predictor` such as a
            `rali.Scorer`.
        manifests: CSV or Parquet files; rows of all of them are grouped by their data set.
        split: only rows of this split; None takes all.
        batch_size: pictures per forward pass; the scores do not depend on it.
        unscored: what a picture counts as that gets no score, as when no answer of a teacher can
            be parsed; with None it is an error.

    Returns:
        The evaluation and {picture: score}.

    Raises:
        InputError: no labelled picture, pictures that cannot be read (the first five are named),
            a score that is not a number, or statistics that are not defined.
    """
    by_manifest = _by_manifest(manifests, split)
    rows = [row for own in by_manifest for row in own]
    pictures = list(dict.fromkeys(row.image for row in rows if row.score is not None))
    predictor = find_predictor(model, batch_size)
    interval = _interval_of(model, predictor)
    predictions, substituted = predict_all(
        predictor, pictures, unscored=unscored, progress=progress
    )
    named = Counter(
        name
        for own in by_manifest
        for name in {row.dataset for row in own if row.score is not None}
    )
    evaluation = replace(
        evaluate_predictions(predictions, rows, split=split),
        model=str(_name_of(model) or type(model).__name__),
        pooled={name: count for name, count in named.items() if count > 1},
        unscored=substituted,
        interval=None if interval is None else _coverage(interval, rows, predictions),
    )
    return evaluation, predictions


def _name_of(model: str | Path | Predictor) -> str | Path | None:
    """What was given, or what a `Scorer` was loaded from; None for any other predictor."""
    return model if isinstance(model, str | Path) else getattr(model, "model", None)


def _interval_of(model: str | Path | Predictor, predictor: Predictor) -> Interval | None:
    """The model's calibrated interval; None where there is none, or nothing that has weights."""
    name, weights = _name_of(model), getattr(predictor, "weights_sha256", None)
    if name is None or weights is None or not find_file(name, INTERVAL_FILE, local=True):
        return None
    return read_interval(name, weights)


def _coverage(
    interval: Interval, rows: Sequence[Row], predictions: Mapping[Path, float]
) -> Coverage:
    """The share of human scores inside the model's interval."""
    inside: dict[str, list[bool]] = {}
    for row in rows:
        if row.score is not None:
            low, high = interval.around(predictions[row.image], LEVEL)
            inside.setdefault(row.dataset or "unnamed", []).append(low <= row.score <= high)
    shares = {name: float(np.mean(held)) for name, held in inside.items()}
    return Coverage(LEVEL, interval.radius(LEVEL), shares)


def labelled_rows(manifests: Sequence[str | Path], *, split: str | None = None) -> list[Row]:
    """All rows of the manifests in `split`.

    Rows of several manifests that name no data set are of one named after their manifest, as only
    scores of one data set are compared.

    Raises:
        InputError: a manifest without a labelled row, or a picture that is twice in a data set.
    """
    return [row for own in _by_manifest(manifests, split) for row in own]


def _by_manifest(manifests: Sequence[str | Path], split: str | None) -> list[list[Row]]:
    """The rows of `labelled_rows`, manifest by manifest."""
    read = [read_manifest(path) for path in manifests]
    everything = [row for own in read for row in own]
    rows = select(everything, split)
    if not any(row.score is not None for row in rows):
        names = ", ".join(str(path) for path in manifests)
        if split is not None and not rows:
            found = sorted({row.split or "(empty)" for row in everything})
            raise InputError(
                f"No row of {names} is in split {split!r}; the splits there are: "
                f"{', '.join(found) or 'none, the manifest is empty'}."
            )
        raise InputError(
            f"None of the {len(rows)} rows of {names} has a score; "
            "evaluation needs a filled `score` column (1 to 5)."
        )
    for name, own in zip(manifests, read, strict=True):
        # Otherwise the average would silently miss a data set.
        if not any(row.score is not None for row in select(own, split)):
            wanted = "has a score" if split is None else f"is in split {split!r} and has a score"
            raise InputError(f"No row of {name} {wanted}; leave the manifest out, or correct it.")
    refuse_twice(row for row in rows if row.score is not None)
    if len(read) > 1:
        datasets = dataset_names(dict(zip(map(str, manifests), read, strict=True)))
        read = [
            [row if row.dataset else replace(row, dataset=datasets[str(path)]) for row in own]
            for path, own in zip(manifests, read, strict=True)
        ]
    return [select(own, split) for own in read]


def refuse_twice(rows: Iterable[Row]) -> None:
    """Raises InputError, which names the picture, if one is twice in a data set."""
    seen: set[tuple[str, Path]] = set()
    for row in rows:
        if (row.dataset, row.image) in seen:
            raise InputError(
                f"{row.image} is listed twice in data set {row.dataset or 'unnamed'!r}; "
                "give each manifest once and each picture one row."
            )
        seen.add((row.dataset, row.image))


def evaluate_predictions(
    predictions: Mapping[Path, float], rows: Iterable[Row], *, split: str | None = None
) -> Evaluation:
    """How well predictions that something else made agree with people's scores.

    Args:
        predictions: {picture (as `Row.image`): score}. Pictures that no row names are ignored.
        rows: rows of a manifest; those without a score are skipped and counted.
        split: only rows of this split are used; None takes all.

    Raises:
        InputError: no labelled row, a picture without a prediction, listed twice in one data set,
            or predicted NaN or infinite; a data set too small or constant. All name the picture
            or the data set.
    """
    rows = select(rows, split)
    refuse_twice(row for row in rows if row.score is not None)
    groups: dict[str, dict[Path, tuple[float, float]]] = {}
    unlabelled = 0
    for row in rows:
        if row.score is None:
            unlabelled += 1
            continue
        name = row.dataset or "unnamed"
        if row.image not in predictions:
            raise InputError(f"There is no prediction for {row.image} (data set {name!r}).")
        predicted = float(predictions[row.image])
        if not math.isfinite(predicted):
            raise InputError(
                f"The prediction for {row.image} is {predicted}, not a number; "
                "the statistics would be wrong without this picture, so there are none."
            )
        groups.setdefault(name, {})[row.image] = predicted, row.score
    if not groups:
        raise InputError(f"None of the {len(rows)} rows has a score to compare with.")
    datasets = {}
    for name, group in groups.items():
        pairs = np.array(list(group.values()), dtype=np.float64)
        try:
            datasets[name] = Statistics.of(pairs[:, 0], pairs[:, 1])
        except InputError as error:
            raise InputError(f"Data set {name!r}: {error}") from error
    return Evaluation(datasets, split, unlabelled)


def predict(
    model: str | Path | Predictor,
    pictures: Sequence[Path],
    *,
    batch_size: int = 8,
    unscored: float | None = None,
    progress: Progress = silent,
) -> dict[Path, float]:
    """The model's score, 1 to 5, for each picture; arguments as for `evaluate`.

    Raises:
        InputError: the model cannot be used, or pictures cannot be read (the first five are named).
    """
    return predict_all(
        find_predictor(model, batch_size), pictures, unscored=unscored, progress=progress
    )[0]


def predict_all(
    predictor: Predictor,
    pictures: Sequence[Path],
    *,
    unscored: float | None = None,
    progress: Progress = silent,
) -> tuple[dict[Path, float], Unscored | None]:
    """The score, 1 to 5, for each picture, and how many of them count as `unscored`."""
    scores, failures = _attempt(predictor, pictures, progress)
    substitutes = _substitutes(failures, len(pictures), unscored)
    if not substitutes or unscored is None:
        return scores, None
    return scores | substitutes, Unscored(len(substitutes), unscored)


def _attempt(
    predictor: Predictor, pictures: Sequence[Path], progress: Progress
) -> tuple[dict[Path, float], dict[Path, str]]:
    """{picture: score}, and {picture: reason} of those that got none."""
    scores: dict[Path, float] = {}
    failures: dict[Path, str] = {}
    results = predictor.score_many(pictures)
    for done, (picture, result) in enumerate(zip(pictures, results, strict=True), start=1):
        if result.error is not None or result.score is None:
            failures[picture] = result.error or "no score"
        else:
            scores[picture] = result.score
        progress("score", done, len(pictures))
    return scores, failures


def _substitutes(
    failures: Mapping[Path, str], count: int, unscored: float | None
) -> dict[Path, float]:
    """What pictures without a score count as; at least one of `count` pictures must have one."""
    if not failures:
        return {}
    if unscored is None or len(failures) == count:
        shown = "; ".join(f"{picture} ({why})" for picture, why in islice(failures.items(), 5))
        more = "" if len(failures) <= 5 else f"; and {len(failures) - 5} more"
        raise InputError(
            f"{len(failures)} of {count} pictures have no score: {shown}{more}. Repair them, or "
            "take them out of the manifest. If a teacher did not answer, `rali evaluate --unscored "
            "3` counts them as 3."
        )
    return dict.fromkeys(failures, unscored)
