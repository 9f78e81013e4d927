"""Step 1 of RALI: pull the image encoder into the space of the quality rationales.

In: pictures with several rationales each. Out: the image encoder, trained with the contrastive loss
of CLIP while the text tower stays frozen (RALI section 4, "Contrastive Alignment").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rali.errors import InputError
from rali.runs.config import check_numbers
from rali.runs.progress import Progress, silent

from .batches import PictureBatches
from .infonce import LogitScale, Share, backward_in_parts
from .optim import (
    Checkpoint,
    Passes,
    accelerator_of,
    check_cropped,
    check_normalised,
    cosine_schedule,
    normalises,
    rate_groups,
)
from .stream import View, draw_view, stream


@dataclass
class AlignConfig:
    """How the alignment is run.

    Attributes:
        enabled: whether the encoder is aligned at all; false keeps the pretrained one (case 1 of
            RALI's Table 4).
        epochs: passes over the pictures.
        batch_size: pictures compared with each other, per process.
        micro_batch: pictures whose activations are held at once; fewer save memory and give the
            same gradient (but batch normalisation sees micro-batches).
        grad_checkpointing: keep less of each block and compute it again for the gradient, in
            encoders of open_clip's without batch normalisation: the same result in a third more
            time. At a micro_batch of 64, ViT-L/14-336 needs 10 GiB instead of 57.
        texts_per_picture: rationales drawn per picture and step; all of them are positives.
        seeds_used: rationales per picture that may be drawn; 0 means all, 1 is Table 4's "no seed
            augmentation".
        lr: peak learning rate of AdamW (paper: 1e-5 for ViT-L/14-336).
        warmup: share of the steps in which the rate rises linearly; then a cosine to zero.
        weight_decay: weight decay of AdamW.
        temperature: start of the learned contrastive temperature.
        trunk_rate: factor on the rate of a pretrained trunk under a new head (timm's and nano's).
        flip: mirror half of the pictures.
        crop: share of each edge that a step sees, at a random place, without resizing; below 1
            only for encoders that take pixels of any size, as nano does.
        precision: autocast type on a GPU: `bf16`, `fp16` or `fp32`.
        workers: processes that read pictures ahead of the training, in each process of it; -1 takes
            one per core, at most 8, 0 none. The outcome does not depend on it.
    """

    enabled: bool = True
    epochs: float = 10.0
    batch_size: int = 64
    micro_batch: int = 64
    grad_checkpointing: bool = True
    texts_per_picture: int = 2
    seeds_used: int = 0
    lr: float = 1e-5
    warmup: float = 0.05
    weight_decay: float = 0.05
    temperature: float = 0.07
    trunk_rate: float = 0.1
    flip: bool = True
    crop: float = 1.0
    precision: str = "bf16"
    workers: int = field(default=-1, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_numbers(
            "align.", self, positive=("temperature",),
            epochs=0, batch_size=2, micro_batch=1, texts_per_picture=1, seeds_used=0, lr=0,
            warmup=0, weight_decay=0, trunk_rate=0, crop=0, workers=-1,
        )  # fmt: skip
        for name in ("crop", "warmup"):
            if getattr(self, name) > 1:
                raise InputError(f"align.{name} is {getattr(self, name)}; give at most 1.")
        if self.precision not in ("bf16", "fp16", "fp32"):
            raise InputError(f"align.precision is {self.precision!r}; expected bf16, fp16 or fp32.")

    def deciding(self) -> dict[str, Any]:
        """The settings on which the outcome depends."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.compare}

    def plan(self, pictures: int, processes: int = 1) -> tuple[int, int]:
        """Pictures per process and step, and steps.

        Raises:
            InputError: more processes than pictures.
        """
        if pictures < processes:
            raise InputError(
                f"{processes} processes cannot share {pictures} pictures; start as many at most."
            )
        batch = min(self.batch_size, pictures // processes)
        steps = round(self.epochs * pictures / (batch * processes))
        return batch, max(steps, 1 if self.epochs > 0 else 0)


def align(
    encoder: nn.Module,
    pictures: PictureBatches,
    texts: Sequence[Tensor],
    config: AlignConfig,
    *,
    seed: int = 0,
    owners: Sequence[int] | None = None,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> nn.Module:
    """Train `encoder` in place so that pictures land near their rationales; returns it.

    Gradients through large batches are exact: embeddings of all micro-batches are computed
    first, the loss is taken over the whole batch (over all processes, under `accelerate
    launch`), and its gradient is sent back through each micro-batch. Micro-batches that do not fit
    into the memory are halved, with a warning, where that is the same training.

    Args:
        encoder: pixels [batch, 3, S, S] → [batch, dim].
        pictures: the training pictures.
        texts: per picture its frozen text embeddings [n_i, dim].
        owners: per picture an id; equal ids (the same file twice) are not negatives of each
            other. Default: the picture's index.
        checkpoint: file to save to and to resume from.

    Raises:
        InputError: fewer than two pictures to compare, or a picture without a rationale.
    """
    if len(pictures) < 2 or config.batch_size < 2:
        raise InputError(
            f"Contrastive alignment compares pictures: given {len(pictures)} pictures and "
            f"batch_size {config.batch_size}, expected at least 2 of each."
        )
    empty = [index for index, of_picture in enumerate(texts) if len(of_picture) == 0]
    if empty:
        raise InputError(
            f"{len(empty)} of {len(pictures)} pictures have no rationale, the first is "
            f"{pictures.name(empty[0])}. Write some with `rali data rationales`."
        )
    if config.seeds_used:
        texts = [of_picture[: config.seeds_used] for of_picture in texts]
    owner_of = list(owners) if owners is not None else list(range(len(pictures)))
    on_gpu = torch.cuda.is_available()
    accelerator = accelerator_of(config.precision if on_gpu else "fp32")
    device, world = accelerator.device, accelerator.num_processes
    torch.manual_seed(seed + accelerator.process_index)
    check_cropped(encoder, config.crop, pictures.preprocess.size, "align")
    encoder.requires_grad_(True).train()
    set_checkpointing(encoder, config.grad_checkpointing)
    encoder.to(device).to(memory_format=torch.channels_last)
    scale = LogitScale(config.temperature).to(device)
    optimizer = torch.optim.AdamW(
        [
            *rate_groups(encoder, config.weight_decay, config.lr, config.trunk_rate),
            {"params": list(scale.parameters()), "weight_decay": 0.0, "peak": config.lr},
        ],
        lr=config.lr,
        betas=(0.9, 0.98),
    )
    model, optimizer = accelerator.prepare(encoder, optimizer)
    batch, steps = config.plan(len(pictures), world)
    # Parts of nearly the same size: one left over would have no batch to be normalised in.
    parts = -(-batch // config.micro_batch)
    check_normalised(encoder, batch // parts, "align.batch_size and align.micro_batch")
    parts_kept: dict[str, Any] = {"encoder": encoder, "scale": scale, "optimizer": optimizer}
    if accelerator.scaler is not None:
        parts_kept["scaler"] = accelerator.scaler  # of fp16's gradients
    keeper = Checkpoint(checkpoint, f"align {config} {seed} {steps}", **parts_kept)
    passes = Passes(len(pictures), batch * world, seed)
    first = keeper.resume()
    drawn: deque[tuple[np.ndarray, list[Tensor]]] = deque()  # for steps whose pixels are read

    def views() -> Iterator[View]:
        for step in range(first, steps):
            draw = np.random.default_rng((seed, step))  # the same batches after a resume
            everyone = passes.at(step)
            view = draw_view(everyone, config.flip, config.crop, pictures.preprocess.size, draw)
            words = [_some(texts[i], config.texts_per_picture, draw) for i in everyone]
            mine = slice(accelerator.process_index, None, world)  # of what one process would see
            drawn.append((everyone[mine], words[mine]))
            yield view.part(mine)

    with stream(pictures, views(), config.workers) as pixels_of_steps:
        for step, read in enumerate(pixels_of_steps, first):
            mine, words = drawn.popleft()
            pixels, text = read.to(device), torch.cat(words).to(device)
            image_owner = torch.tensor([owner_of[i] for i in mine], device=device)
            text_owner = torch.repeat_interleave(
                image_owner, torch.tensor([len(of_picture) for of_picture in words], device=device)
            )
            share = Share(pixels, text, image_owner, text_owner)
            loss, parts = backward_in_parts(model, accelerator, share, scale, parts)
            if world > 1:  # DDP averages; the scale is not part of the wrapped model
                scale.log.grad = accelerator.reduce(scale.log.grad, "mean")
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * cosine_schedule(step, steps, config.warmup)
            optimizer.step()
            optimizer.zero_grad()
            scale.clamp()
            if accelerator.is_main_process:
                progress("align", step + 1, steps, loss)
                if step + 1 < steps:
                    keeper.save(step + 1)
    accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # autocast ends with the training
    set_checkpointing(encoder, False)
    # As it is read again from a file: another layout would change the last bits of what follows.
    encoder.to(memory_format=torch.contiguous_format)
    accelerator.free_memory()  # or it would keep the optimizer's moments alive
    return encoder.eval()


def _some(texts: Tensor, count: int, draw: np.random.Generator) -> Tensor:
    """At most `count` of a picture's texts."""
    return texts[draw.choice(len(texts), min(count, len(texts)), False)]


def set_checkpointing(encoder: nn.Module, enable: bool) -> bool:
    """Switch gradient checkpointing of an encoder that has it; returns whether it is on.

    Batch normalisation, which would count a batch twice, is left as it is.
    """
    switch = getattr(encoder, "set_grad_checkpointing", None)
    if switch is None or normalises(encoder):
        return False
    switch(enable)
    return enable
