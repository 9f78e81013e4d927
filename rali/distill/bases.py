"""Step 2 of RALI, second half: a few basis vectors that cover the whole range of scores.

In: compressed embeddings [n, M] and scores [n]. Out: K basis vectors with a score each, from
k-means inside each score bucket (RALI equations 1 and 2), so that rare scores keep bases of their
own. The clustering is faiss's.
"""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np

from rali.errors import InputError
from rali.runs.config import check_numbers


@dataclass
class BasesConfig:
    """How the bases are found.

    Attributes:
        bucketed: whether k-means runs inside score buckets; false is plain k-means over all
            pictures (case 3 of RALI's Table 4).
        buckets: number N of equal buckets over the score range.
        count: number K of bases in all.
        iterations: iterations of k-means.
    """

    bucketed: bool = True
    buckets: int = 240
    count: int = 250
    iterations: int = 25

    def __post_init__(self) -> None:
        check_numbers("bases.", self, buckets=1, count=1, iterations=1)


def bucket_of(scores: np.ndarray, buckets: int, low: float = 1.0, high: float = 5.0) -> np.ndarray:
    """Index [n] of each score's bucket: N equal parts of [low, high], the top one closed.

    A score on an edge, up to rounding, belongs to the upper bucket.
    """
    place = (np.asarray(scores, float) - low) / (high - low) * buckets
    index = np.floor(place + 1e-9).astype(int)
    return np.clip(index, 0, buckets - 1)


def allocate(counts: np.ndarray, total: int) -> np.ndarray:
    """Centroids per bucket: one for each that is not empty, the rest by largest remainder.

    The rest is shared in proportion to the buckets' counts; no bucket gets more centroids than
    it has members. Fewer centroids than non-empty buckets: the fullest buckets get one each.

    Args:
        counts: members per bucket [N], ≥ 0. total: K.

    Returns:
        [N] ints summing to min(total, sum of counts).
    """
    counts = np.asarray(counts, int)
    filled = counts > 0
    shares = filled.astype(int)
    if total < shares.sum():
        order = np.argsort(-counts, kind="stable")[:total]
        shares = np.zeros_like(counts)
        shares[order] = 1
        return shares
    rest = min(total, counts.sum()) - shares.sum()
    while rest > 0:  # once, and again for what full buckets could not take
        room = counts - shares
        weight = np.where(room > 0, counts, 0)
        quota = rest * weight / weight.sum()
        more = np.floor(quota).astype(int)
        remainder = np.where(room > 0, quota - more, -1)
        more[np.argsort(-remainder, kind="stable")[: rest - more.sum()]] += 1
        more = np.minimum(more, room)
        shares += more
        rest -= more.sum()
    return shares


def kmeans(points: np.ndarray, count: int, *, iterations: int = 25, seed: int = 0) -> np.ndarray:
    """Cluster index [n] of each point: faiss k-means over all points, none subsampled."""
    if count >= len(points):
        return np.arange(len(points))
    if count == 1:
        return np.zeros(len(points), int)
    points = np.ascontiguousarray(points, np.float32)
    clustering = faiss.Kmeans(
        points.shape[1],
        count,
        niter=iterations,
        init_method=faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=max(256, -(-len(points) // count) + 1),
    )
    clustering.train(points)
    return clustering.index.search(points, 1)[1][:, 0]


def find_bases(
    embeddings: np.ndarray,
    scores: np.ndarray,
    config: BasesConfig | None = None,
    *,
    score_range: tuple[float, float] = (1.0, 5.0),
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Basis vectors [K, M] and their scores [K].

    Both are means over all members of a cluster (equation 2), whatever the clustering itself
    saw. Duplicate pictures can leave clusters empty; those are dropped, so K may be smaller than
    asked, as it is when there are fewer pictures than centroids.

    Raises:
        InputError: no pictures, shapes that do not fit, or scores outside `score_range`.
    """
    config = config or BasesConfig()
    embeddings = np.asarray(embeddings, np.float32)
    scores = np.asarray(scores, np.float64)
    if len(embeddings) == 0 or len(embeddings) != len(scores):
        raise InputError(
            f"Bases need one score per embedding; given {len(embeddings)} and {len(scores)}."
        )
    low, high = score_range
    outside = np.flatnonzero(~((scores >= low) & (scores <= high)))
    if outside.size:
        raise InputError(
            f"Score {scores[outside[0]]} at index {outside[0]} is outside [{low:g}, {high:g}]."
        )
    if config.bucketed:
        index = bucket_of(scores, config.buckets, low, high)
        shares = allocate(np.bincount(index, minlength=config.buckets), config.count)
        order = np.argsort(index, kind="stable")
        bounds = np.searchsorted(index[order], np.arange(config.buckets + 1))
        groups = [(order[bounds[n] : bounds[n + 1]], shares[n]) for n in np.flatnonzero(shares)]
    else:
        groups = [(np.arange(len(scores)), config.count)]
    vectors, values = [], []
    for members, count in groups:
        points = embeddings[members]
        cluster = kmeans(points, int(count), iterations=config.iterations, seed=seed)
        clusters = [np.flatnonzero(cluster == label) for label in np.unique(cluster)]
        vectors += [points[places].mean(0, dtype=np.float64) for places in clusters]
        values += [scores[members[places]].mean() for places in clusters]
    return np.array(vectors, np.float32), np.array(values, np.float32)
