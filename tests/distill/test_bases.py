"""PCA, buckets, allocation, k-means and the fit, against values worked out by hand."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rali.distill.bases import BasesConfig, allocate, bucket_of, find_bases, kmeans
from rali.distill.compress import CompressConfig, fit_projection
from rali.distill.fit import FitConfig, fit_scores
from rali.distill.pipeline import DistillConfig
from rali.errors import InputError
from rali.recipes import find_recipe
from rali.runs.config import from_dict, read_yaml
from rali.student.student import score_from_bases


def test_buckets_cover_the_range_with_the_top_closed():
    assert bucket_of(np.array([1, 1.99, 2, 4.99, 5]), 4).tolist() == [0, 0, 1, 3, 3]


@pytest.mark.parametrize("buckets", [240, 90, 7, 1000])
@pytest.mark.parametrize("low, high", [(1, 5), (0, 100), (0, 1)])
def test_a_score_on_an_edge_is_in_the_upper_bucket(buckets, low, high):
    """The edges are worked out in fractions; floats of them lie on either side."""
    edges = [low + Fraction(n * (high - low), buckets) for n in range(buckets)]
    scores = np.array([float(edge) for edge in edges])
    assert bucket_of(scores, buckets, low, high).tolist() == [*range(buckets)]
    middles = scores + (high - low) / buckets / 2
    assert bucket_of(middles, buckets, low, high).tolist() == [*range(buckets)]


def test_a_score_below_an_edge_is_in_the_lower_bucket():
    scores = np.array([1 + 4 / 240, 1 + 4 / 240 - 1e-6, 5.0])
    assert bucket_of(scores, 240).tolist() == [1, 0, 239]


def test_allocation_by_largest_remainder():
    # One each, 4 left over for counts 6:3:1 → 2.4, 1.2, 0.4 → 2, 1, 0 and the last one by the
    # largest remainder, a tie of 0.4 that the fuller bucket wins.
    assert allocate(np.array([6, 3, 0, 1]), 7).tolist() == [4, 2, 0, 1]
    # 5 left over for 60:29:11 → 3, 1.45, 0.55: the last one goes to the third bucket.
    assert allocate(np.array([60, 29, 11]), 8).tolist() == [4, 2, 2]


def test_what_a_full_bucket_cannot_take_goes_to_the_others():
    # 17 left over for 2:30:10 → 0.8, 12.1, 4.05 → 1, 12, 4, and the first is full with that.
    assert allocate(np.array([2, 30, 10]), 20).tolist() == [2, 13, 5]
    # 5 left over for 1:1:100 after one each; the two small ones are full already.
    assert allocate(np.array([1, 1, 100]), 8).tolist() == [1, 1, 6]


def test_allocation_never_exceeds_a_bucket():
    assert allocate(np.array([1, 10]), 8).tolist() == [1, 7]
    assert allocate(np.array([2, 2]), 100).tolist() == [2, 2]


def test_fewer_centroids_than_buckets_go_to_the_fullest():
    assert allocate(np.array([1, 5, 3]), 2).tolist() == [0, 1, 1]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.integers(1, 300))
def test_allocation_properties(counts, total):
    counts = np.array(counts)
    shares = allocate(counts, total)
    assert shares.sum() == min(total, counts.sum())
    assert (shares <= counts).all() and (shares >= 0).all()
    if total >= (counts > 0).sum():
        assert (shares[counts > 0] >= 1).all()


def test_bases_are_means_of_their_members():
    # Two buckets, one centroid each: means of vectors and of scores (equation 2).
    points = np.array([[0, 0], [2, 0], [10, 10]], np.float32)
    vectors, scores = find_bases(points, np.array([1.2, 1.4, 4.8]), BasesConfig(buckets=2, count=2))
    assert vectors.tolist() == [[1, 0], [10, 10]]
    assert scores == pytest.approx([1.3, 4.8])


def test_plain_kmeans_mixes_scores():
    points = np.repeat(np.array([[0.0, 0.0], [9.0, 9.0]], np.float32), 5, axis=0)
    scores = np.tile([1.0, 5.0], 5)
    _, values = find_bases(points, scores, BasesConfig(bucketed=False, count=2))
    assert np.ptp(values) < 2  # bunched, unlike the bucketed ones
    _, bucketed = find_bases(points, scores, BasesConfig(count=4))
    assert bucketed.min() == 1 and bucketed.max() == 5


def test_duplicate_pictures_leave_no_empty_basis():
    points = np.ones((20, 3), np.float32)
    vectors, scores = find_bases(points, np.full(20, 3.0), BasesConfig(count=5))
    assert np.isfinite(vectors).all() and len(vectors) == len(scores) >= 1
    assert scores == pytest.approx(3.0)


def test_constant_scores_give_that_score():
    points = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    vectors, scores = find_bases(points, np.full(30, 2.5), BasesConfig(count=7))
    assert len(vectors) == 7 and scores == pytest.approx(2.5)


def test_score_outside_the_range_is_named():
    with pytest.raises(InputError, match="index 1"):
        find_bases(np.zeros((2, 2)), np.array([3.0, 5.5]))


def test_kmeans_separates_what_is_far_apart():
    generator = np.random.default_rng(0)
    centres = np.repeat(np.array([[0, 0], [100, 0], [0, 100]], np.float32), 400, axis=0)
    cluster = kmeans(centres + generator.normal(size=centres.shape).astype(np.float32), 3)
    assert [len(set(part)) for part in np.split(cluster, 3)] == [1, 1, 1]


def test_projection_is_pca_of_centred_embeddings():
    generator = np.random.default_rng(0)
    points = (generator.normal(size=(200, 6)) * [9, 5, 1, 1, 1, 1] + 40).astype(np.float32)
    projection = fit_projection(points, CompressConfig(dim=2))
    assert np.abs(projection.components @ projection.components.T - np.eye(2)).max() < 1e-5
    _, axes = np.linalg.eigh(np.cov(points.T))
    assert abs(projection.components[0] @ axes[:, -1]) == pytest.approx(1, abs=1e-3)
    assert np.abs(projection.transform(points).mean(0)).max() < 1e-3


def test_default_size_follows_width_and_samples():
    points = np.random.default_rng(0).normal(size=(50, 30)).astype(np.float32)
    assert fit_projection(points).components.shape == (20, 30)
    assert fit_projection(points[:9]).components.shape == (8, 30)


def test_too_few_samples_for_the_asked_size():
    with pytest.raises(InputError, match="at least 6 pictures"):
        fit_projection(np.random.rand(4, 10).astype("f"), CompressConfig(dim=5))


def test_equal_embeddings_are_refused():
    with pytest.raises(InputError, match="all alike"):
        fit_projection(np.ones((4, 10), np.float32))


def test_disabled_pca_is_the_identity():
    points = np.random.rand(4, 10).astype(np.float32)
    assert (fit_projection(points, CompressConfig(enabled=False)).transform(points) == points).all()


def test_equation_3_by_hand():
    # Cosines 1 and 0 at τ = 0.5: weights e²/(e²+1) and 1/(e²+1).
    bases, scores = torch.eye(2), torch.tensor([5.0, 1.0])
    got = score_from_bases(torch.tensor([[3.0, 0.0]]), bases, scores, 0.5)
    assert got.item() == pytest.approx((5 * math.e**2 + 1) / (math.e**2 + 1), abs=1e-5)


def test_fit_lowers_the_error_and_stays_in_range():
    generator = np.random.default_rng(0)
    points = generator.normal(size=(300, 8)).astype(np.float32)
    scores = 3 + np.tanh(points[:, 0])
    vectors, values = find_bases(points, scores, BasesConfig(count=20))
    eye = np.eye(8, dtype=np.float32)

    def error(v, s):
        with torch.no_grad():
            got = score_from_bases(*map(torch.tensor, (points, v, s)), 0.07)
        return float(((got.numpy() - scores) ** 2).mean())

    fitted = fit_scores(points, scores, vectors, values, eye, FitConfig(steps=300))
    assert error(fitted.basis_vectors, fitted.basis_scores) < 0.3 * error(vectors, values)
    assert fitted.basis_scores.min() >= 1 and fitted.basis_scores.max() <= 5
    off = fit_scores(points, scores, vectors, values, eye, FitConfig(enabled=False))
    assert error(off.basis_vectors, off.basis_scores) == pytest.approx(error(vectors, values))


def test_the_rate_of_the_vectors_can_be_set():
    draw = np.random.default_rng(0)
    points, vectors = draw.normal(size=(40, 16)), draw.normal(size=(4, 16))
    scores, values = np.linspace(1, 5, 40), np.array([1.0, 2, 4, 5])
    start = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def moved(**settings) -> float:
        """The largest step of a vector's number; Adam's first is the rate."""
        config = FitConfig(steps=1, **settings)
        fitted = fit_scores(points, scores, vectors, values, np.eye(16), config)
        assert np.abs(fitted.basis_scores - values)[1:3].max() == pytest.approx(3e-2, rel=1e-3)
        return float(np.abs(fitted.basis_vectors - start).max())

    assert moved() == pytest.approx(3e-2 / 4, rel=1e-3)
    assert moved(vector_lr=3e-2) == pytest.approx(3e-2, rel=1e-3)
    paper = from_dict(DistillConfig, read_yaml(find_recipe("rali"))).fit
    assert (paper.lr, paper.vector_lr) == (3e-2, 3e-2)


def test_validation_keeps_the_best_check():
    generator = np.random.default_rng(1)
    points = generator.normal(size=(40, 4)).astype(np.float32)
    noise = generator.uniform(1, 5, 40)  # nothing to learn: every step away from 3 is overfitting
    held_out = (generator.normal(size=(200, 4)).astype(np.float32), np.full(200, noise.mean()))
    start = np.eye(4, dtype=np.float32), np.full(4, noise.mean(), np.float32)
    fitted = fit_scores(points, noise, *start, np.eye(4, dtype="f"), validation=held_out)
    assert fitted.basis_scores == pytest.approx(noise.mean(), abs=0.05)
