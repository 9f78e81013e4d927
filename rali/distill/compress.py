"""Step 2 of RALI, first half: PCA from the encoder's dimension D to M.

In: embeddings [n, D] as the encoder gives them (not L2-normalised). Out: a projection (RALI section
4, "Feature Compression"). The paper keeps 512 of 768 dimensions; we keep min(512, ⌊2D/3⌋) of D.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA

from rali.errors import InputError
from rali.runs.config import check_numbers


@dataclass
class CompressConfig:
    """How embeddings are compressed.

    Attributes:
        enabled: whether embeddings are compressed; false keeps all D dimensions, uncentred (case 2
            of RALI's Table 4).
        dim: dimensions M to keep; 0 means min(512, ⌊2D/3⌋), or fewer where there are few pictures.
        scale: divide each centred dimension by its standard deviation before projecting.
    """

    enabled: bool = True
    dim: int = 0
    scale: bool = False

    def __post_init__(self) -> None:
        check_numbers("compress.", self, dim=0)


@dataclass
class Projection:
    """x ↦ ((x − mean) / scale) · componentsᵀ.

    Attributes:
        mean: [D]. scale: [D]. components: [M, D], orthonormal rows.
        explained: share of the variance kept, 0–1.
    """

    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    explained: float

    def transform(self, embeddings: np.ndarray) -> np.ndarray:
        """[n, D] → [n, M]."""
        return ((embeddings - self.mean) / self.scale) @ self.components.T


def fit_projection(embeddings: np.ndarray, config: CompressConfig | None = None) -> Projection:
    """Fit the projection on the training embeddings [n, D].

    PCA has at most n − 1 directions: with fewer pictures than the default size, that size shrinks
    to n − 1.

    Raises:
        InputError: a given size that the pictures cannot fill; fewer than two pictures; embeddings
            that are all equal or not finite.
    """
    config = config or CompressConfig()
    count, width = embeddings.shape
    if not np.isfinite(embeddings).all():
        raise InputError("The embeddings hold NaN or infinity: the alignment has diverged.")
    if not config.enabled:
        return Projection(
            np.zeros(width, np.float32), np.ones(width, np.float32), np.eye(width, dtype="f"), 1.0
        )
    if count < 2 or np.ptp(embeddings, axis=0).max() == 0:
        raise InputError(
            f"PCA needs at least two different embeddings; given {count} pictures, all alike."
        )
    if config.dim > width:
        raise InputError(
            f"PCA size {config.dim} was asked for, but the encoder has {width} dimensions. "
            f"Give compress.dim between 1 and {width}."
        )
    if config.dim and config.dim > count - 1:
        raise InputError(
            f"PCA size {config.dim} needs at least {config.dim + 1} pictures; given {count}. "
            f"Give compress.dim of at most {count - 1}, or 0 to let it follow the data."
        )
    dim = config.dim or min(512, max(1, 2 * width // 3), count - 1)
    mean = embeddings.mean(0)
    scale = np.ones(width, np.float32)
    if config.scale:
        spread = embeddings.std(0)
        scale = np.where(spread > 0, spread, 1).astype(np.float32)
    pca = PCA(dim, svd_solver="full").fit((embeddings - mean) / scale)
    return Projection(
        mean.astype(np.float32),
        scale,
        pca.components_.astype(np.float32),
        float(pca.explained_variance_ratio_.sum()),
    )
