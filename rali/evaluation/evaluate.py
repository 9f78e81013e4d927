"""A model against people's scores: predictions for manifests, statistics per data set and average.

In: a model and manifests (or predictions already made and their rows). Out: one plain dict that
renders as a table, Markdown or JSON. Nothing is dropped silently: unlabelled rows are counted,
anything else that is missing is an error that names the picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rali.data.manifest import Row, read_manifest, select
from rali.errors import InputError, PictureError
from rali.metrics import METRICS, all_metrics
from rali.scoring.intervals import Interval, read_interval
from rali.scoring.model_folder import INTERVAL_FILE, find_file, has_weights, is_exported

Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""

LEVEL = 0.9  # of the interval whose coverage is told


def evaluate(
    model: Any,
    manifests: Sequence[str | Path],
    *,
    split: str | None = None,
    batch_size: int = 8,
    unscored: float | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], dict[Path, float]]:
    """Score every labelled picture of the manifests and compare with people's scores.

    Args:
        model: "builtin", a model folder, an ONNX file, a hub id, or an object with
            `score_many(sources)` such as a `rali.Scorer`.
        manifests: CSV or Parquet files; rows of all of them are grouped by their data set.
        split: only rows of this split; None takes all.
        batch_size: pictures per forward pass; the scores do not depend on it.
        unscored: what a picture counts as that gets no score, as when no answer of a teacher can
            be parsed; None stops there.

    Returns:
        The evaluation (see `evaluate_predictions`, plus "model"; of a model with a calibrated
        interval "interval", its level, radius and coverage per data set; "unscored", how many
        pictures got none and what they count as) and {picture: score}.

    Raises:
        InputError: no labelled picture, pictures that cannot be read (the first five are named),
            a score that is not a number, or statistics that are not defined.
    """
    rows = labelled_rows(manifests, split=split)
    pictures = list(dict.fromkeys(row.image for row in rows if row.score is not None))
    predictions, failures = _attempt(model, pictures, batch_size, progress)
    predictions |= _instead(failures, len(pictures), unscored)
    evaluation = evaluate_predictions(predictions, rows, split=split)
    if failures:
        evaluation["unscored"] = {"n": len(failures), "as": unscored}
    named = isinstance(model, str | Path)
    if named and find_file(model, INTERVAL_FILE, local=True):
        evaluation["interval"] = _coverage(read_interval(model), rows, predictions)
    return {"model": str(model) if named else type(model).__name__, **evaluation}, predictions


def _coverage(
    interval: Interval, rows: Sequence[Row], predictions: Mapping[Path, float]
) -> dict[str, Any]:
    """Per data set the share of human scores inside the model's calibrated interval."""
    inside: dict[str, list[bool]] = {}
    for row in rows:
        if row.score is not None:
            low, high = interval.around(predictions[row.image], LEVEL)
            inside.setdefault(row.dataset or "unnamed", []).append(low <= row.score <= high)
    return {
        "level": LEVEL,
        "radius": interval.radius(LEVEL),
        "coverage": {name: float(np.mean(held)) for name, held in inside.items()},
    }


def labelled_rows(manifests: Sequence[str | Path], *, split: str | None = None) -> list[Row]:
    """All rows of the manifests in `split`; an InputError if none of them has a score."""
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
        # Or a data set would be missing from the average unseen.
        if not any(row.score is not None for row in select(own, split)):
            wanted = "has a score" if split is None else f"is in split {split!r} and has a score"
            raise InputError(f"No row of {name} {wanted}; leave the manifest out, or mend it.")
    return rows


def evaluate_predictions(
    predictions: Mapping[Path, float], rows: Iterable[Row], *, split: str | None = None
) -> dict[str, Any]:
    """Statistics of predictions already made, whatever made them.

    Args:
        predictions: {picture (as `Row.image`): score}. Pictures that no row names are ignored.
        rows: rows of a manifest; those without a score are skipped and counted.
        split: written into the result; and only rows of this split are used when given.

    Returns:
        {"split", "n", "unlabelled", "datasets": {name: {"srcc", "plcc", "plcc_logistic", "krcc",
        "rmse", "n", "logistic", "intervals": {metric: [low, high]}}}, "average": {metric: mean of
        the data sets, each counting once}}

    Raises:
        InputError: no labelled row, a picture without a prediction, listed twice in one data set,
            or predicted NaN or infinite; a data set too small or constant. All name the picture
            or the data set.
    """
    rows = select(rows, split)
    groups: dict[str, dict[Path, tuple[float, float]]] = {}
    unlabelled = 0
    for row in rows:
        if row.score is None:
            unlabelled += 1
            continue
        name = row.dataset or "unnamed"
        group = groups.setdefault(name, {})
        if row.image in group:
            raise InputError(
                f"{row.image} is listed twice in data set {name!r}; "
                "give each manifest once and each picture one row."
            )
        if row.image not in predictions:
            raise InputError(f"There is no prediction for {row.image} (data set {name!r}).")
        predicted = float(predictions[row.image])
        if not math.isfinite(predicted):
            raise InputError(
                f"The prediction for {row.image} is {predicted}, not a number; "
                "the statistics would be wrong without this picture, so there are none."
            )
        group[row.image] = predicted, row.score
    if not groups:
        raise InputError(f"None of the {len(rows)} rows has a score to compare with.")
    datasets = {}
    for name, group in groups.items():
        pairs = np.array(list(group.values()), dtype=np.float64)
        try:
            datasets[name] = all_metrics(pairs[:, 0], pairs[:, 1])
        except InputError as error:
            raise InputError(f"Data set {name!r}: {error}") from error
    average = {
        metric: float(np.mean([numbers[metric] for numbers in datasets.values()]))
        for metric in METRICS
    }
    return {
        "split": split,
        "n": sum(numbers["n"] for numbers in datasets.values()),
        "unlabelled": unlabelled,
        "datasets": datasets,
        "average": average,
    }


def predict(
    model: Any,
    pictures: Sequence[Path],
    *,
    batch_size: int = 8,
    unscored: float | None = None,
    progress: Progress | None = None,
) -> dict[Path, float]:
    """The model's score, 1 to 5, for each picture; `unscored` as for `evaluate`.

    Raises:
        InputError: the model cannot be used, or pictures cannot be read (the first five named).
    """
    scores, failures = _attempt(model, pictures, batch_size, progress)
    return scores | _instead(failures, len(pictures), unscored)


def _attempt(
    model: Any, pictures: Sequence[Path], batch_size: int, progress: Progress | None
) -> tuple[dict[Path, float], dict[Path, str]]:
    """{picture: score}, and {picture: why} of those that got none."""
    scores: dict[Path, float] = {}
    failures: dict[Path, str] = {}
    results = _student_scores if _is_torch_folder(model) else _scorer_scores
    for done, (picture, score, reason) in enumerate(results(model, pictures, batch_size), start=1):
        if reason is not None or score is None:
            failures[picture] = reason or "no score"
        else:
            scores[picture] = score
        if progress is not None:
            progress(done, len(pictures))
    return scores, failures


def _instead(failures: Mapping[Path, str], count: int, unscored: float | None) -> dict[Path, float]:
    """What pictures without a score count as; of `count` pictures some must have one."""
    if not failures:
        return {}
    if unscored is None or len(failures) == count:
        told = "; ".join(f"{picture} ({why})" for picture, why in islice(failures.items(), 5))
        more = "" if len(failures) <= 5 else f"; and {len(failures) - 5} more"
        raise InputError(
            f"{len(failures)} of {count} pictures have no score: {told}{more}. Mend them, or take "
            "them out of the manifest. Of a teacher that did not answer, `rali evaluate --unscored "
            "3` counts them as 3."
        )
    return dict.fromkeys(failures, unscored)


Scored = Iterable[tuple[Path, float | None, str | None]]


def _is_torch_folder(model: Any) -> bool:
    """A model folder that was never exported: weights for torch, but no ONNX file."""
    if not isinstance(model, str | Path):
        return False
    return has_weights(model) and not is_exported(model)


def _scorer_scores(model: Any, pictures: Sequence[Path], batch_size: int) -> Scored:
    if isinstance(model, str | Path):
        from rali.scoring.scorer import Scorer

        model = Scorer(model, batch_size=batch_size)
    for picture, result in zip(pictures, model.score_many(pictures), strict=True):
        yield picture, result.score, result.error


def _student_scores(model: Any, pictures: Sequence[Path], batch_size: int) -> Scored:
    from rali.pictures.read import open_picture
    from rali.student.student import Student

    student = Student.from_pretrained(model)
    for start in range(0, len(pictures), batch_size):
        readable, pixels = [], []
        for picture in pictures[start : start + batch_size]:
            try:
                pixels.append(open_picture(picture))
                readable.append(picture)
            except PictureError as error:
                yield picture, None, str(error)
        if pixels:
            for picture, score in zip(readable, student.score(pixels, batch_size), strict=True):
                yield picture, float(score), None
