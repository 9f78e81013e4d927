"""Measures of a generator before and after: the reward, and what was not rewarded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from rali import Student
from rali.rewards import RaliReward
from rali.rewards.no_grad import rewards_of
from rali.student.encoders import family_of, load_encoder

SEEDS = range(1_000_000, 1_000_256)  # of the measured pictures; training uses other seeds
SHOWN = 24  # pictures


def small(model: str, size: int) -> Student:
    """A student that looks at no more than `size` pixels, if its encoder takes any size.

    Otherwise it would enlarge a picture of 64 pixels to 512, and see blur everywhere.
    """
    student = Student.from_pretrained(model)
    if family_of(student.config.encoder["name"]).any_size and size < student.preprocess.size:
        student.config.preprocess["size"] = size
    return student


class Measures:
    """The reward that is optimised, and measures that are not.

    Args:
        reward: with the guards it is optimised with.
        other: another student, which has no part in the training.
        real: crops of good photographs, [n, 3, H, W], 0–1, for the Fréchet distance.
    """

    def __init__(self, reward: RaliReward, other: Student | None, real: Tensor) -> None:
        self.reward = reward
        self.plain = RaliReward(reward.student)  # without guards
        self.other = None if other is None else RaliReward(other)
        self.encoder = load_encoder("nano", text=False)  # as pretrained, before any student
        self.real = self._features(real)

    def __call__(self, pictures: Tensor) -> dict[str, float]:
        """Means over pictures [n, 3, H, W], 0–1."""
        means = {
            "score": rewards_of(self.plain, pictures).mean().item(),
            "reward": rewards_of(self.reward, pictures).mean().item(),
        }
        if self.other is not None:
            means["other student"] = rewards_of(self.other, pictures).mean().item()
        grey = pictures.mean(1, keepdim=True)
        laplacian = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
        edges = torch.nn.functional.conv2d(grey, laplacian)
        means["sharpness"] = edges.flatten(1).var(1).mean().item() * 255**2
        means["contrast"] = grey.flatten(1).std(1).mean().item() * 255
        # Between pictures: it is 0 for a generator that makes only one picture.
        means["variety"] = pictures.flatten(1).std(0).mean().item() * 255
        means["Fréchet distance"] = frechet(self._features(pictures), self.real)
        return means

    @torch.no_grad()
    def _features(self, pictures: Tensor) -> np.ndarray:
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (
            self.encoder.preprocess.mean, self.encoder.preprocess.std,
        ))  # fmt: skip
        parts = ((pictures - mean) / std).split(32)
        return torch.cat([self.encoder.image(part) for part in parts]).double().numpy()


def frechet(made: np.ndarray, real: np.ndarray, dimensions: int = 32) -> float:
    """Fréchet distance of two Gaussians (Heusel et al., 2017), features [n, D] and [m, D].

    |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 √(Σ₁ Σ₂)), in the first principal components of the real pictures,
    each scaled to variance 1. A few hundred pictures describe no more than 32 components, and the
    variance of each needs at least four pictures.
    """
    dimensions = max(1, min(dimensions, len(real) // 4))
    centre = real.mean(0)
    _, deviations, axes = np.linalg.svd(real - centre, full_matrices=False)
    scale = axes[:dimensions].T / (deviations[:dimensions] / len(real) ** 0.5)
    first, second = (made - centre) @ scale, (real - centre) @ scale
    covariances = np.atleast_2d(np.cov(first.T)), np.atleast_2d(np.cov(second.T))
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    apart = np.square(first.mean(0) - second.mean(0)).sum()
    return float(apart + np.trace(covariances[0] + covariances[1] - 2 * root))


def sheet(before: Tensor, after: Tensor, path: Path) -> None:
    """Draw the pictures of the same seeds: before in the upper rows, after in the lower rows."""
    columns, edge = 12, 128
    rows = [before[:SHOWN], after[:SHOWN]]
    height = -(-SHOWN // columns) * edge + 20
    made = Image.new("RGB", (columns * edge, 2 * height), "white")
    draw = ImageDraw.Draw(made)
    for block, (pictures, name) in enumerate(zip(rows, ("before", "after"), strict=True)):
        draw.text((4, block * height + 3), name, "black")
        for n, picture in enumerate(pictures):
            rgb = (picture.permute(1, 2, 0) * 255).round().byte().numpy()
            place = n % columns * edge, block * height + 20 + n // columns * edge
            how = Image.Resampling.NEAREST if len(rgb) < edge else Image.Resampling.BICUBIC
            made.paste(Image.fromarray(rgb).resize((edge, edge), how), place)
    made.save(path)


def table(before: dict[str, float], after: dict[str, float]) -> str:
    lines = ["| | before | after |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {before[name]:.3f} | {after[name]:.3f} |" for name in before]
    return "\n".join(lines)
