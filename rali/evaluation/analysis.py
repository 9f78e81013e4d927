"""Numbers behind the papers' figures of a student: its space, its scores, its calibration.

In: a student and labelled pictures. Out: arrays that `rali.report.plots` draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rali.errors import InputError

if TYPE_CHECKING:
    from rali.student.student import Student


def map_2d(features: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """t-SNE of features [n, D]: [n, 2]; the same for one seed.

    Raises:
        InputError: fewer than five rows.
    """
    from sklearn.manifold import TSNE

    if len(features) < 5:
        raise InputError(f"a map needs at least five points; given {len(features)}.")
    perplexity = min(30.0, (len(features) - 1) / 3)
    points: np.ndarray = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(
        features
    )
    return points


def embed(student: Student, pictures: Sequence[Path], batch_size: int = 8) -> np.ndarray:
    """Embeddings [n, D] before PCA.

    Raises:
        PictureError: a picture cannot be read.
    """
    import torch

    from rali.pictures.read import open_picture

    parts = []
    for start in range(0, len(pictures), batch_size):
        some = pictures[start : start + batch_size]
        pixels = np.stack([student.preprocess(open_picture(picture)) for picture in some])
        with torch.inference_mode():
            parts.append(student(torch.from_numpy(pixels))[1].numpy())
    return np.concatenate(parts)


def projected(student: Student, embeddings: np.ndarray) -> np.ndarray:
    """The space in which scores are read [n, M]: centred, scaled, projected, of length 1."""
    import torch

    with torch.inference_mode():
        own = (torch.from_numpy(embeddings) - student.mean) / student.scale @ student.components.T
        return torch.nn.functional.normalize(own, dim=1).numpy()


def calibration_curve(
    predicted: Sequence[float], mos: Sequence[float], bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean prediction, mean human score and its standard error, [bins] each.

    Bins hold equally many pictures, in the order of the predictions.

    Raises:
        InputError: fewer than two pictures per bin.
    """
    told, true = np.asarray(predicted, float), np.asarray(mos, float)
    if len(told) != len(true) or len(told) < 2 * bins:
        raise InputError(
            f"A calibration curve of {bins} bins needs {2 * bins} pictures; got {len(told)}."
        )
    parts = np.array_split(np.argsort(told, kind="stable"), bins)
    means = [(told[p].mean(), true[p].mean(), true[p].std(ddof=1) / len(p) ** 0.5) for p in parts]
    x, y, error = np.array(means).T
    return x, y, error
