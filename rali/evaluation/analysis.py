"""Numbers behind the papers' figures of a student: its space, its scores, its calibration.

In: a student, embeddings, scores. Out: arrays that `rali.report` draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rali.errors import InputError

if TYPE_CHECKING:
    from rali.student.student import Student


def map_2d(features: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """t-SNE of features [n, D]: [n, 2]. The same seed gives the same map.

    Raises:
        InputError: fewer than five rows.
    """
    from sklearn.manifold import TSNE

    if len(features) < 5:
        raise InputError(f"A map needs at least five points; given {len(features)}.")
    perplexity = min(30.0, (len(features) - 1) / 3)
    points: np.ndarray = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(
        features
    )
    return points


def projected(student: Student, embeddings: np.ndarray) -> np.ndarray:
    """The space in which scores are read [n, M]: centred, scaled, projected, of length 1."""
    import torch

    with torch.inference_mode():
        points = student.project(torch.from_numpy(embeddings))
        return torch.nn.functional.normalize(points, dim=1).numpy()


def scores_of(student: Student, embeddings: np.ndarray) -> np.ndarray:
    """Scores [n], 1–5, of embeddings [n, D] as `student.embed` returns them."""
    import torch

    with torch.inference_mode():
        return student.score_embeddings(torch.from_numpy(embeddings)).numpy()


def calibration_curve(
    predicted: Sequence[float], mos: Sequence[float], bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean prediction, mean human score and its standard error, [bins] each.

    Bins hold equally many pictures, in the order of the predictions.

    Raises:
        InputError: fewer than two pictures per bin.
    """
    scores, true = np.asarray(predicted, float), np.asarray(mos, float)
    if len(scores) != len(true) or len(scores) < 2 * bins:
        raise InputError(
            f"A calibration curve of {bins} bins needs {2 * bins} pictures; got {len(scores)}."
        )
    parts = np.array_split(np.argsort(scores, kind="stable"), bins)
    means = [(scores[p].mean(), true[p].mean(), true[p].std(ddof=1) / len(p) ** 0.5) for p in parts]
    x, y, error = np.array(means).T
    return x, y, error
