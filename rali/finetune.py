"""An optional last step beyond the paper: fit the encoder together with the bases.

RALI fits bases and basis scores on fixed embeddings; its encoder has seen hundreds of millions of
pictures. Nano has not, and gains from a few epochs of the same equation 3 and the same squared
error in which the gradient goes on into the encoder.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from .align import cosine_schedule
from .fit import score_from_bases
from .images import PictureBatches
from .student import Student


@dataclass
class FinetuneConfig:
    """How the encoder is fitted.

    Attributes:
        epochs: passes over the labelled pictures; 0 leaves the step out, as the paper does.
        batch_size: pictures per step.
        lr: peak rate of AdamW, for the encoder and the bases.
        weight_decay: AdamW's, on the encoder's matrices.
    """

    epochs: float = 0.0
    batch_size: int = 64
    lr: float = 5e-4
    weight_decay: float = 0.05


def finetune(
    student: Student,
    pictures: PictureBatches,
    scores: Sequence[float],
    config: FinetuneConfig,
    *,
    validation: tuple[PictureBatches, Sequence[float]] | None = None,
    seed: int = 0,
    report: Callable[[int, int, float], None] | None = None,
) -> Student:
    """Train encoder, basis vectors and basis scores on image–score pairs, in place.

    With `validation` the weights of the epoch with the least squared error are kept.

    Args:
        student: as the fit left it. scores: [n], 1–5, of `pictures`.
        report: called with (step, steps, loss).
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(seed)
    student.to(device)
    encoder = student.encoder.requires_grad_(True)
    vectors = student.basis_vectors.detach().clone().requires_grad_(True)
    values = student.basis_scores.detach().clone().requires_grad_(True)
    matrices = [p for p in encoder.parameters() if p.ndim > 1]
    rest = [p for p in encoder.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": [*rest, vectors, values], "weight_decay": 0.0},
        ],
        lr=config.lr,
    )
    target = torch.tensor(np.asarray(scores), dtype=torch.float32)
    batch = min(config.batch_size, len(pictures))
    per_epoch = max(1, len(pictures) // batch)
    steps = max(1, round(config.epochs * per_epoch))
    low, high = student.config.score_range
    best: tuple[float, dict[str, torch.Tensor]] | None = None
    order = np.arange(0)
    for step in range(steps):
        if len(order) < batch:
            order = np.random.default_rng((seed, step)).permutation(len(pictures))
        chosen, order = order[:batch], order[batch:]
        encoder.train()
        flip = np.random.default_rng((seed, step, 1)).random(batch) < 0.5
        pixels = pictures.pixels(chosen, flip=flip).to(device)
        projected = ((encoder(pixels) - student.mean) / student.scale) @ student.components.T
        predicted = score_from_bases(projected, vectors, values, student.config.temperature)
        loss = F.mse_loss(predicted, target[torch.from_numpy(chosen)].to(device))
        for group in optimizer.param_groups:
            group["lr"] = config.lr * cosine_schedule(step, steps, 0.05)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*matrices, *rest], 1.0)
        optimizer.step()
        values.data.clamp_(low, high)
        if report:
            report(step + 1, steps, loss.item())
        if (step + 1) % per_epoch == 0 or step + 1 == steps:
            student.basis_vectors.copy_(vectors.detach())
            student.basis_scores.copy_(values.detach())
            if validation is not None:
                error = _error(student, *validation)
                if best is None or error < best[0]:
                    best = error, copy.deepcopy(student.state_dict())
    if best is not None:
        student.load_state_dict(best[1])
    return student.cpu().eval().requires_grad_(False)


@torch.inference_mode()
def _error(student: Student, pictures: PictureBatches, scores: Sequence[float]) -> float:
    student.eval()
    parts = []
    for start in range(0, len(pictures), 32):
        indices = np.arange(start, min(start + 32, len(pictures)))
        parts.append(student(pictures.pixels(indices).to(student.mean.device))[0].cpu())
    return F.mse_loss(torch.cat(parts), torch.tensor(np.asarray(scores)).float()).item()
