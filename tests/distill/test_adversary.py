"""Pictures that please the score: they score higher, and lie within their radius."""

from __future__ import annotations

import torch

from rali.distill.adversary import climb
from rali.student.student import Student, StudentConfig
from small import tower


def test_the_score_rises_within_the_radius_of_each_picture():
    torch.manual_seed(0)
    student = Student(StudentConfig({}, {}, embed_dim=4, pca_dim=4, bases=5), tower())
    student.components.copy_(torch.eye(4))
    student.basis_vectors.copy_(torch.randn(5, 4))
    student.basis_scores.copy_(torch.arange(1.0, 6.0))
    pixels = torch.randn(3, 3, 8, 8)
    radius = torch.tensor([0.02, 0.1, 0.4])
    climbed = climb(student, pixels, radius, steps=4)
    moved = (climbed - pixels).abs().amax((1, 2, 3))
    assert (moved <= radius * 1.0001).all() and (moved > radius / 2).all()
    low, high = pixels.amin((1, 2, 3)), pixels.amax((1, 2, 3))
    assert (climbed.amin((1, 2, 3)) >= low).all() and (climbed.amax((1, 2, 3)) <= high).all()
    with torch.no_grad():
        assert (student(climbed)[0] > student(pixels)[0]).all()
    assert all(parameter.grad is None for parameter in student.parameters())
