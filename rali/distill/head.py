"""Steps 2 and 3 of RALI on embeddings, which a student's encoder or another program has made.

In: embeddings [n, D] and scores [n]. Out: a projection and fitted bases; of embeddings without an
encoder the folder of a head, which NumPy alone reads (`rali.scoring.head`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from rali.data.features import Features
from rali.data.manifest import Row
from rali.errors import InputError
from rali.runs.config import check_seed, write_yaml
from rali.runs.folder import RunFolder
from rali.runs.progress import Progress, silent
from rali.scoring.head import Head, VectorScorer, write_head
from rali.scoring.intervals import SMALLEST, calibrate, write_interval
from rali.scoring.model_folder import WEIGHTS_FILE
from rali.version import __version__

from .bases import BasesConfig, find_bases
from .compress import CompressConfig, Projection, fit_projection
from .fit import FitConfig, FittedBases, fit_scores
from .splits import scores_of, training_rows
from .stages import logged
from .unfitted import save_unfitted

Scored = tuple[np.ndarray, np.ndarray]
"""Embeddings [n, D] and their scores [n], 1–5."""


@dataclass
class HeadConfig:
    """Everything that decides what `rali distill --features` makes.

    Attributes:
        features: the encoder that made the embeddings, such as `clip-vit-l-14`; empty takes what
            the file says of itself.
        seed: seed of every random choice.
        compress: step 2, first half: compress embeddings by PCA.
        bases: step 2, second half: find basis vectors by k-means.
        fit: step 3, fit the bases to the scores.
    """

    features: str = ""
    seed: int = 0
    compress: CompressConfig = field(default_factory=CompressConfig)
    bases: BasesConfig = field(default_factory=BasesConfig)
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        check_seed("seed", self.seed)


def fit_head(
    run: RunFolder,
    train: Scored,
    val: Scored | None,
    compress: CompressConfig,
    bases: BasesConfig,
    fit: FitConfig,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Projection, FittedBases]:
    """Compress, find bases and fit them to the scores; `val` decides when the fit stops."""
    embeddings, scores = train
    with run.timed("bases"):
        projection = fit_projection(embeddings, compress)
        vectors, values = find_bases(projection.transform(embeddings), scores, bases, seed=seed)
        save_unfitted(run.folder, projection, vectors, values, fit.temperature)
        progress("bases", 1, 1)

    def centred(points: np.ndarray) -> np.ndarray:
        return (points - projection.mean) / projection.scale

    with run.timed("fit"):
        fitted = fit_scores(
            centred(embeddings),
            scores,
            vectors,
            values,
            projection.components,
            fit,
            validation=None if val is None else (centred(val[0]), val[1]),
            seed=seed,
            progress=logged(run, progress, every=10),
        )
        progress("fit", fit.steps, fit.steps)  # it may have stopped early
    return projection, fitted


def distill_head(
    config: HeadConfig,
    rows: Sequence[Row],
    features: Features,
    folder: str | Path,
    *,
    trained_on: str = "",
    progress: Progress = silent,
) -> VectorScorer:
    """Make a head; its folder is `folder/model`.

    Labelled rows of split `train` (or all, where the manifest has no splits) are trained on; `val`
    rows decide when the fit stops and how wide intervals are; `test` rows are never read. It takes
    seconds, so nothing of an earlier call is used again.

    Args:
        rows: the manifest.
        features: the embeddings of its pictures, which are not opened.
        folder: the run folder.
        trained_on: names the training data.

    Raises:
        InputError: nothing to train on, pictures or contents in two splits, a picture without an
            embedding, embeddings of another encoder than `config.features`, or a run folder that
            holds a student.
    """
    model = Path(folder) / "model"
    if (model / WEIGHTS_FILE).exists():
        raise InputError(f"{folder} holds a student. Give another folder for the head.")
    if config.features and features.encoder and config.features != features.encoder:
        raise InputError(
            f"{features.source} says that it holds embeddings of {features.encoder}, not of "
            f"{config.features}. Leave --features-name out, or give the other file."
        )
    config = HeadConfig(**{**vars(config), "features": config.features or features.encoder})
    train, val = ([row for row in some if row.score is not None] for some in training_rows(rows))
    found = features.of([row.image for row in (*train, *val)])
    train_set = found[: len(train)], scores_of(train)
    val_set = (found[len(train) :], scores_of(val)) if val else None
    run = RunFolder(Path(folder))
    write_yaml(asdict(config), run.folder / "config.yaml")
    projection, fitted = fit_head(
        run, train_set, val_set, config.compress, config.bases, config.fit, seed=config.seed,
        progress=progress,
    )  # fmt: skip
    model.mkdir(exist_ok=True)
    head = Head(
        projection.mean, projection.scale, fitted.components, fitted.basis_vectors,
        fitted.basis_scores,
    )  # fmt: skip
    training = {
        "data": trained_on,
        "pictures": len(train),
        "variance_kept": round(projection.explained, 4),
        "config": asdict(config),
        "versions": {"rali": __version__},
    }
    write_head(
        head, model, temperature=fitted.temperature, features=config.features, training=training
    )
    scorer = VectorScorer(model)
    if val_set is not None and len(val) >= SMALLEST:
        predicted = scorer(val_set[0]).tolist()
        source = f"{trained_on or 'the manifest'}, val"
        write_interval(
            calibrate(
                predicted, val_set[1].tolist(), source=source, weights_sha256=scorer.weights_sha256
            ),
            model,
        )
    return scorer
