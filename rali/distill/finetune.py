"""An optional last step beyond the paper: fit the encoder together with the bases.

RALI fits bases and basis scores on fixed embeddings; its encoder has seen hundreds of millions of
pictures. Nano has not, and gains from a few epochs of the same equation 3 and the same squared
error in which the gradient reaches the encoder too.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from rali.runs.config import check_numbers
from rali.runs.progress import Progress, silent
from rali.student.encoders import embed_batches
from rali.student.student import Student

from .batches import PictureBatches, in_order
from .optim import Checkpoint, check_normalised, cosine_schedule, decay_groups


@dataclass
class FinetuneConfig:
    """How the encoder is fitted.

    Attributes:
        epochs: passes over the labelled pictures; 0 leaves the step out, as the paper does.
        batch_size: pictures per step.
        lr: peak learning rate of AdamW, for the encoder and the bases.
        weight_decay: weight decay of AdamW, on the encoder's matrices.
    """

    epochs: float = 0.0
    batch_size: int = 64
    lr: float = 5e-4
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        check_numbers("finetune.", self, epochs=0, batch_size=1, lr=0, weight_decay=0)

    def plan(self, pictures: int) -> tuple[int, int, int]:
        """Pictures per step, steps per epoch, and steps."""
        batch = min(self.batch_size, pictures)
        per_epoch = max(1, pictures // batch)
        return batch, per_epoch, max(1, round(self.epochs * per_epoch))


def finetune(
    student: Student,
    pictures: PictureBatches,
    scores: np.ndarray,
    config: FinetuneConfig,
    *,
    validation: tuple[PictureBatches, np.ndarray] | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> Student:
    """Train encoder, basis vectors and basis scores on image–score pairs, in place.

    With `validation` the weights with the least squared error on it are kept: those of the start
    or of the end of an epoch.

    Args:
        student: as the fit left it. scores: [n], 1–5, of `pictures`.
        checkpoint: file to save to once a minute and to resume from.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(seed)
    student.to(device).requires_grad_(True)
    bases = [student.basis_vectors.requires_grad_(True), student.basis_scores.requires_grad_(True)]
    groups = decay_groups(student.encoder.named_parameters(), config.weight_decay)
    optimizer = torch.optim.AdamW([*groups, {"params": bases, "weight_decay": 0.0}], lr=config.lr)
    target = torch.tensor(scores, dtype=torch.float32)
    batch, per_epoch, steps = config.plan(len(pictures))
    check_normalised(student.encoder, batch, "finetune.batch_size")
    best = _Best()
    keeper = Checkpoint(
        checkpoint,
        f"finetune {config} {seed} {steps}",
        student=student,
        optimizer=optimizer,
        best=best,
    )
    start = keeper.resume()
    if validation is not None and start == 0:
        best.offer(_error(student, *validation), student)
    for step in range(start, steps):
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng((seed, epoch)).permutation(len(pictures))
        chosen = order[place * batch : (place + 1) * batch]
        flip = np.random.default_rng((seed, step, 1)).random(batch) < 0.5
        student.train()
        predicted, _ = student(pictures.pixels(chosen, flip=flip).to(device))
        loss = F.mse_loss(predicted, target[torch.from_numpy(chosen)].to(device))
        for group in optimizer.param_groups:
            group["lr"] = config.lr * cosine_schedule(step, steps, 0.05)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.encoder.parameters(), 1.0)
        optimizer.step()
        student.basis_scores.data.clamp_(*student.config.score_range)
        progress("finetune", step + 1, steps, loss.item())
        last = step + 1 == steps
        if validation is not None and (place + 1 == per_epoch or last):
            best.offer(_error(student, *validation), student)
        if not last:
            keeper.save(step + 1)
    if best.weights:
        student.load_state_dict(best.weights)
    for tensor in bases:
        tensor.requires_grad_(False)
    return student.cpu().eval().requires_grad_(False)


class _Best:
    """The weights with the least error so far, as a checkpoint can hold them."""

    def __init__(self) -> None:
        self.error = float("inf")
        self.weights: dict[str, torch.Tensor] = {}

    def offer(self, error: float, student: Student) -> None:
        if error < self.error:
            self.error, self.weights = error, copy.deepcopy(student.state_dict())

    def state_dict(self) -> dict[str, Any]:
        return vars(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


@torch.inference_mode()
def _error(student: Student, pictures: PictureBatches, scores: np.ndarray) -> float:
    """Mean squared error of the student's scores."""
    student.eval()
    embedded = embed_batches(student.encoder, in_order(pictures, 32), len(pictures))
    predicted = torch.cat([student.score_embeddings(embedding).cpu() for embedding in embedded])
    return F.mse_loss(predicted, torch.tensor(scores).float()).item()
