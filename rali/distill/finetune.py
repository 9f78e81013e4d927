"""An optional last step beyond the paper: fit the encoder together with the bases.

RALI fits bases and basis scores on fixed embeddings; its encoder has seen hundreds of millions of
pictures. Nano has not, and gains from a few epochs of the same equation 3 and the same squared
error (or the absolute one) in which the gradient reaches the encoder too. Some of the pictures may
be changed to please the score (`rali.distill.adversary`), which makes the student harder to fool.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rali.errors import InputError
from rali.runs.config import check_numbers
from rali.runs.progress import Progress, silent
from rali.student.encoders import embed_batches
from rali.student.student import Student

from .adversary import climb
from .batches import PictureBatches, in_order
from .optim import Checkpoint, check_cropped, check_normalised, cosine_schedule, rate_groups
from .stream import draw_view

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
LOSSES: dict[str, Loss] = {"squared": F.mse_loss, "absolute": F.l1_loss}


@dataclass
class FinetuneConfig:
    """How the encoder is fitted.

    Attributes:
        epochs: passes over the labelled pictures; 0 leaves the step out, as the paper does.
        share: for a data set the share of its pictures that a pass sees, drawn anew for each pass,
            as in `{degraded: 0.5}`; all of a data set that is not named.
        loss: `squared`, or `absolute`, which minds small errors among many alike scores more.
        batch_size: pictures per step.
        lr: peak learning rate of AdamW, for the encoder and the bases.
        trunk_rate: factor on the rate of a pretrained trunk under a new head (timm's and nano's).
        weight_decay: weight decay of AdamW, on the encoder's matrices.
        crop: as for the alignment.
        average: decay per step of the moving average of weights that is kept; 0 keeps the last.
        climbed: share of the pictures of a step that are changed to please the score.
        climb_steps: steps of that ascent; each costs a pass forwards and backwards.
        climb_radius: largest change of a value, in 256ths; each picture's is drawn between a
            sixth of it and all.
    """

    epochs: float = 0.0
    share: dict[str, float] = field(default_factory=dict)
    loss: str = "squared"
    batch_size: int = 64
    lr: float = 5e-4
    trunk_rate: float = 0.1
    weight_decay: float = 0.05
    crop: float = 1.0
    average: float = 0.0
    climbed: float = 0.0
    climb_steps: int = 2
    climb_radius: float = 12.0

    def __post_init__(self) -> None:
        check_numbers(
            "finetune.", self, positive=("crop",), epochs=0, batch_size=1, lr=0, weight_decay=0,
            trunk_rate=0, average=0, climbed=0, climb_steps=1, climb_radius=0,
        )  # fmt: skip
        for name in ("climbed", "average", "crop"):
            if getattr(self, name) > 1:
                raise InputError(f"finetune.{name} is {getattr(self, name)}; give at most 1.")
        if self.loss not in LOSSES:
            raise InputError(f"finetune.loss is {self.loss!r}; expected {' or '.join(LOSSES)}.")
        for dataset, share in self.share.items():
            if not 0 < share <= 1:
                raise InputError(f"finetune.share.{dataset} is {share}; give above 0, at most 1.")

    def per_pass(self, datasets: Sequence[str]) -> dict[str, int]:
        """How many pictures of each data set a pass sees.

        Args:
            datasets: of each labelled picture its data set.

        Raises:
            InputError: `share` names a data set that is not among them.
        """
        found = Counter(datasets)
        for name in self.share:
            if name not in found:
                raise InputError(
                    f"finetune.share names the data set {name!r}; the labelled pictures are of "
                    f"{', '.join(map(repr, found))}."
                )
        return {name: max(1, round(self.share.get(name, 1) * n)) for name, n in found.items()}

    def plan(self, pictures: int) -> tuple[int, int, int]:
        """Pictures per step (of some steps one fewer), steps per epoch, and steps."""
        per_epoch = -(-pictures // self.batch_size)
        return -(-pictures // per_epoch), per_epoch, max(1, round(self.epochs * per_epoch))


def finetune(
    student: Student,
    pictures: PictureBatches,
    scores: np.ndarray,
    config: FinetuneConfig,
    *,
    datasets: Sequence[str] = (),
    validation: tuple[PictureBatches, np.ndarray] | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> Student:
    """Train encoder, basis vectors and basis scores on image–score pairs, in place.

    With `validation` the weights with the least error on it are kept: those of the start or of the
    end of an epoch.

    Args:
        student: as the fit left it. scores: [n], 1–5, of `pictures`.
        datasets: [n], of each picture its data set; needed for `config.share` alone.
        checkpoint: file to save to once a minute and to resume from.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(seed)
    check_cropped(student.encoder, config.crop, pictures.preprocess.size, "finetune")
    student.to(device).requires_grad_(True)
    bases = [student.basis_vectors.requires_grad_(True), student.basis_scores.requires_grad_(True)]
    groups = rate_groups(student.encoder, config.weight_decay, config.lr, config.trunk_rate)
    groups.append({"params": bases, "weight_decay": 0.0, "peak": config.lr})
    optimizer = torch.optim.AdamW(groups, lr=config.lr)
    averaged = AveragedModel(
        student, multi_avg_fn=get_ema_multi_avg_fn(config.average), use_buffers=True
    )
    mean = cast(Student, averaged.module)
    target = torch.tensor(scores, dtype=torch.float32)
    loss_of = LOSSES[config.loss]
    of = np.array(datasets or [""] * len(pictures))
    per_pass = config.per_pass(of.tolist())
    seen = sum(per_pass.values())
    _, per_epoch, steps = config.plan(seen)
    check_normalised(student.encoder, seen // per_epoch, "finetune.batch_size")
    best = _Best()
    keeper = Checkpoint(
        checkpoint,
        f"finetune {config} {seed} {steps}",
        student=student,
        optimizer=optimizer,
        averaged=averaged,
        best=best,
    )
    start = keeper.resume()
    if validation is not None and start == 0:
        best.offer(_error(student, *validation, loss_of), student)
    for step in range(start, steps):
        epoch, place = divmod(step, per_epoch)
        order = _order(of, per_pass, np.random.default_rng((seed, epoch)))
        chosen = np.array_split(order, per_epoch)[place]  # all of them, in nearly equal parts
        draw = np.random.default_rng((seed, step, 1))
        view = draw_view(chosen, True, config.crop, pictures.preprocess.size, draw)
        pixels = pictures.normalised(pictures.read(view)).to(device)
        if count := round(config.climbed * len(chosen)):
            reach = torch.from_numpy(draw.uniform(1 / 6, 1, count)) * config.climb_radius / 255
            reach = reach / min(pictures.preprocess.std)
            student.eval()  # as it will be climbed
            pixels[:count] = climb(student, pixels[:count], reach, config.climb_steps)
        student.train()
        predicted, _ = student(pixels)
        loss = loss_of(predicted, target[torch.from_numpy(chosen)].to(device))
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * cosine_schedule(step, steps, 0.05)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.encoder.parameters(), 1.0)
        optimizer.step()
        student.basis_scores.data.clamp_(*student.config.score_range)
        averaged.update_parameters(student)
        progress("finetune", step + 1, steps, loss.item())
        last = step + 1 == steps
        if validation is not None and (place + 1 == per_epoch or last):
            best.offer(_error(mean, *validation, loss_of), mean)
        if not last:
            keeper.save(step + 1)
    student.load_state_dict(best.weights or mean.state_dict())
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


def _order(of: np.ndarray, per_pass: dict[str, int], draw: np.random.Generator) -> np.ndarray:
    """The places of the pictures that one pass sees, `per_pass` of each data set."""
    some = [draw.permutation(np.flatnonzero(of == name))[:n] for name, n in per_pass.items()]
    return draw.permutation(np.concatenate(some))


@torch.inference_mode()
def _error(student: Student, pictures: PictureBatches, scores: np.ndarray, loss_of: Loss) -> float:
    """Mean loss of the student's scores."""
    student.eval()
    embedded = embed_batches(student.encoder, in_order(pictures, 32), len(pictures))
    predicted = torch.cat([student.score_embeddings(embedding).cpu() for embedding in embedded])
    return loss_of(predicted, torch.tensor(scores).float()).item()
