"""What a reward's gradient reaches, and where following it leads."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .no_grad import rewards_of
from .reward import RaliReward

STEPS, RATE = 100, 0.01  # of an adversary's ascent by Adam, on values from 0 to 1


def field_of_view(reward: RaliReward, rgb: np.ndarray) -> float:
    """The share of a picture's longer edge, uint8 [H, W, 3], that a reward has gradients for."""
    low, high = reward.input_range
    values = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].to(reward.mean.device) / 255
    picture = (low + (high - low) * values).requires_grad_()
    reward(picture).sum().backward()
    assert picture.grad is not None
    lines = picture.grad[0].abs().amax((0, 1) if rgb.shape[1] >= rgb.shape[0] else (0, 2))
    return float((lines > 0).float().mean())


def ascend(
    reward: RaliReward,
    rgb: np.ndarray,
    *,
    steps: int = STEPS,
    smoothness: float = 0.0,
    radius: float = 1.0,
) -> tuple[np.ndarray, float, float]:
    """Climb the reward from a picture; returns the best picture, and the reward before and after.

        max_x  reward(x) − λ · mean |∇x|,   |x − x₀| ≤ radius

    The best picture is the one on the way where this is largest.

    Args:
        rgb: uint8 [H, W, 3]. smoothness: λ, the weight of the total variation.
        radius: largest change of a value, of values from 0 to 1.
    """
    start = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].to(reward.mean.device) / 255
    picture = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([picture], lr=RATE)
    low, high = reward.input_range
    best, least = start, math.inf
    for step in range(steps + 1):
        optimizer.zero_grad()
        rewards = reward(low + (high - low) * picture)
        loss = smoothness * _variation(picture) - rewards.sum()
        if loss < least:
            best, least = picture.detach().clone(), loss.item()
        if step == steps:
            break
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            picture.clamp_(0, 1).clamp_(start - radius, start + radius)
    levels = (best[0].permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()
    before, after = rewards_of(reward, [rgb, levels]).tolist()
    return levels, before, after


def _variation(picture: Tensor) -> Tensor:
    down, across = picture.diff(dim=-2), picture.diff(dim=-1)
    return down.abs().mean() + across.abs().mean()
