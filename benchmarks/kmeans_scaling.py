"""Does bucketed k-means grow linearly? 10⁴ → 10⁶ embeddings × 512, beside scikit-learn's KMeans.

    python benchmarks/kmeans_scaling.py [--largest 1000000]  > benchmarks/kmeans_scaling.md

Embeddings are Gaussian with a direction that carries the score; scores are uniform on [1, 5].
scikit-learn does the same work: the same buckets, the same centroids per bucket, the same
iterations, one KMeans per bucket.
"""

from __future__ import annotations

import argparse
import platform
import time
import warnings

import faiss
import numpy as np
import sklearn
from sklearn.cluster import KMeans

from rali.distill.bases import BasesConfig, allocate, bucket_of, find_bases

DIM = 512


def sample(count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    scores = generator.uniform(1, 5, count)
    points = generator.standard_normal((count, DIM), dtype=np.float32)
    points[:, 0] += scores * 2
    return points, scores


def sklearn_bases(points: np.ndarray, scores: np.ndarray, config: BasesConfig) -> None:
    index = bucket_of(scores, config.buckets)
    shares = allocate(np.bincount(index, minlength=config.buckets), config.count)
    order = np.argsort(index, kind="stable")
    bounds = np.searchsorted(index[order], np.arange(config.buckets + 1))
    for bucket in np.flatnonzero(shares):
        members = order[bounds[bucket] : bounds[bucket + 1]]
        KMeans(int(shares[bucket]), n_init=1, max_iter=config.iterations, tol=0).fit(
            points[members]
        )


def seconds(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=1_000_000)
    largest = parser.parse_args().largest
    warnings.simplefilter("ignore")
    sizes = [n for n in (10_000, 31_623, 100_000, 316_228, 1_000_000) if n <= largest]
    print("# Bucketed k-means: time against the number of embeddings\n")
    print(
        f"{platform.processor() or platform.machine()}, {faiss.omp_get_max_threads()} threads, "
        f"faiss {faiss.__version__}, scikit-learn {sklearn.__version__}, seed 0, "
        f"{DIM} dimensions, 240 buckets, 25 iterations.\n"
    )
    print("| embeddings | K | rali (s) | scikit-learn (s) |\n| ---: | ---: | ---: | ---: |")
    slopes = {}
    find_bases(*sample(1_000), BasesConfig())  # the first call also loads libraries
    for count in (250, 2_500):
        config = BasesConfig(count=count)
        ours = []
        for size in sizes:
            points, scores = sample(size)
            ours.append(seconds(lambda p=points, s=scores, c=config: find_bases(p, s, c)))
            theirs = (
                f"{seconds(lambda p=points, s=scores, c=config: sklearn_bases(p, s, c)):.2f}"
                if size <= 316_228
                else "not run"
            )
            print(f"| {size:,} | {count:,} | {ours[-1]:.2f} | {theirs} |", flush=True)
        slopes[count] = np.polyfit(np.log(sizes), np.log(ours), 1)[0]
    print()
    for count, slope in slopes.items():
        print(f"Log–log slope, K = {count:,}: {slope:.2f} (bar: ≤ 1.1).")


if __name__ == "__main__":
    main()
