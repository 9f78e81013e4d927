"""Pictures changed to please the score, for a training that makes them please it no more.

In: a student and pixels. Out: the same pixels, each moved by at most a radius to where the score is
higher (projected gradient ascent; Madry et al., 2018). People see little or nothing of the change,
so the picture keeps the score that people gave it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rali.student.student import Student

STEP = 0.75  # of the radius


def climb(student: Student, pixels: Tensor, radius: Tensor, steps: int) -> Tensor:
    """Climb the score from each picture, inside a box around it.

        x ← clip( x + α sign ∇f(x), x₀ − ε, x₀ + ε ),  α = 0.75 ε

    Args:
        student: in training or evaluation mode; its gradients are left as they are.
        pixels: [batch, 3, H, W], normalised.
        radius: ε per picture [batch], in the same unit as `pixels`.
        steps: of the ascent, from a random place in the box.

    Returns:
        Pixels [batch, 3, H, W], without a gradient.
    """
    reach = radius.view(-1, 1, 1, 1).to(pixels)
    change = (2 * torch.rand_like(pixels) - 1) * reach
    low, high = pixels.amin((1, 2, 3), keepdim=True), pixels.amax((1, 2, 3), keepdim=True)
    for _ in range(steps):
        moved = (pixels + change).requires_grad_(True)
        (slope,) = torch.autograd.grad(student(moved)[0].sum(), moved)
        change = (change + STEP * reach * slope.sign()).clamp(-reach, reach)
    return torch.clamp(pixels + change, low, high).detach()
