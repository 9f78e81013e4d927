"""The nano teacher's vision tower: it starts as a spectrum and learns what the built-in sees.

In: an untrained Qwen2.5-VL tower and `Looks`. Out: its weights. Every visual token regresses the
built-in's trunk features and block spectra of its cell; all tokens together regress the built-in's
embedding and name the degradation, its severity, its score and the measures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from nano_teacher_pictures import CELL, Looks
from torch import Tensor, nn
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
)

from rali.data.manifest import Row
from rali.data.rationale_words import CUTS, grade
from rali.distill.optim import Checkpoint, cosine_schedule, decay_groups
from rali.metrics import srcc
from rali.pictures.degrade import DISTORTIONS
from rali.pictures.measure import Measures
from rali.teacher.models import flatten_patches

PATCH, MERGE, WIDTH, DEPTH, OUTPUT = 16, 4, 64, 4, 128
TOWER = {  # of a Qwen2_5_VLVisionConfig
    "depth": DEPTH,
    "hidden_size": WIDTH,
    "intermediate_size": 3 * WIDTH,
    "num_heads": 4,
    "patch_size": PATCH,
    "temporal_patch_size": 1,
    "spatial_merge_size": MERGE,
    "window_size": 4 * CELL,
    "fullatt_block_indexes": [DEPTH - 1],
    "out_hidden_size": OUTPUT,
}
CLASSES = ("null", *DISTORTIONS)
NULL_SHARE = 3.0  # how much more often than others an undegraded photograph is drawn
PLAIN_SHARE = 0.3  # a photograph of which no fault is known, or of which a slight one is
PART = 4  # edge in tokens of the parts that most steps see
STEEP = 4.0


@dataclass(frozen=True)
class EyesConfig:
    """How the tower learns.

    Attributes:
        part_steps, part_batch: steps on parts of 4 × 4 tokens, and their number in each.
        whole_steps, whole_batch: steps on whole pictures, after them.
    """

    part_steps: int = 3000
    part_batch: int = 48
    whole_steps: int = 900
    whole_batch: int = 24
    lr: float = 2e-3
    seed: int = 0


def untrained(seed: int) -> Any:
    torch.manual_seed(seed)
    tower = Qwen2_5_VisionTransformerPretrainedModel(Qwen2_5_VLVisionConfig(**TOWER))
    flatten_patches(SimpleNamespace(model=SimpleNamespace(visual=tower)))
    return tower


def filters() -> Tensor:
    """The patch embedding's first weights, [WIDTH, 3, 1, PATCH, PATCH], one cosine a channel.

    Of luma, cosines of the patch, and of its first 8 × 8 block, which compression quantizes; of
    both chroma planes, coarser ones. A step in the middle stands for the edge between two blocks.
    """
    places = (np.arange(PATCH) + 0.5) * np.pi / PATCH

    def wave(u: int, v: int, edge: int = PATCH) -> np.ndarray:
        near = np.where(np.arange(PATCH) < edge, np.arange(PATCH) + 0.5, np.nan) * np.pi / edge
        made = np.outer(np.nan_to_num(np.cos(u * near)), np.nan_to_num(np.cos(v * near)))
        inside = np.arange(PATCH) < edge
        return made * np.outer(inside, inside) * PATCH / edge

    step = np.zeros(PATCH)
    step[PATCH // 2 - 2 : PATCH // 2 + 2] = (0.33, -1, 1, -0.33)
    flat = np.ones(PATCH)
    luma = [wave(u, v) for u in (0, 1, 3, 6, 10, 15) for v in (0, 1, 3, 6, 10, 15)]
    luma += [wave(u, v, 8) for u, v in ((0, 3), (3, 0), (2, 2), (0, 6), (6, 0), (4, 4), (7, 7))]
    luma += [np.outer(step, flat), np.outer(flat, step), np.outer(np.cos(15 * places), step)]
    chroma = [
        wave(u, v)
        for u, v in ((0, 0), (0, 1), (1, 0), (1, 1), (3, 3), (0, 7), (7, 0), (9, 9), (15, 15))
    ]
    weights = ((0.299, 0.587, 0.114), (-0.17, -0.33, 0.5), (0.5, -0.42, -0.08))
    made = [
        np.stack([weight * wave for weight in weights[plane]])[:, None]
        for plane, waves in ((0, luma), (1, chroma), (2, chroma))
        for wave in waves
    ]
    assert len(made) == WIDTH, len(made)
    return torch.tensor(np.stack(made), dtype=torch.float32)


def start_as_spectrum(tower: Any, pixels: Tensor) -> None:
    """Set the tower's first weights to measure spectra, given patches [n, 3 · PATCH²].

    Each filter is scaled to a standard deviation of 1, because photographs have less of higher
    frequencies, and these tell most about quality; the patch's mean stays small, so that the
    normalisation before the network makes faint grain in a flat patch large. The first block's
    network starts as magnitudes, |z| = relu(z) + relu(−z), which tell blur, noise and
    compression apart.
    """
    network = tower.blocks[0].mlp
    mixed = torch.linalg.qr(torch.randn(WIDTH, WIDTH))[0]
    with torch.no_grad():
        tower.patch_embed.proj.weight.copy_(filters())
        spread = (pixels @ tower.patch_embed.proj.weight.flatten(1).T).std(0)
        spread[[0, 46, 55]] *= 3  # luma and chroma means
        tower.patch_embed.proj.weight /= spread[:, None, None, None, None]
        tower.blocks[0].attn.proj.weight.zero_()
        for channel in range(WIDTH):
            for sign, unit in ((1, 2 * channel), (-1, 2 * channel + 1)):
                network.gate_proj.weight[unit].zero_()
                network.gate_proj.weight[unit, channel] = sign * STEEP
                network.up_proj.weight[unit].zero_()
                network.up_proj.bias[unit] = 1 / STEEP
                network.down_proj.weight[:, unit] = 2 * mixed[:, channel]


def patches(looks: Looks, index: int, box: tuple[int, int, int, int], flip: bool) -> Tensor:
    """A part of a picture as the processor gives it to the tower: [n, 3 · PATCH²].

    Args:
        box: top, left, height and width in tokens.
    """
    top, left, h, w = (edge * CELL for edge in box)
    rgb = looks.picture(index)[top : top + h, left : left + w]
    values = torch.from_numpy(rgb[:, ::-1].copy() if flip else rgb.copy())
    cells = values.view(box[2], MERGE, PATCH, box[3], MERGE, PATCH, 3)
    return cells.permute(0, 3, 1, 4, 6, 2, 5).reshape(-1, 3 * PATCH * PATCH)


def normalised(pixels: Tensor, processor: Any) -> Tensor:
    look = processor.image_processor
    mean = torch.tensor(look.image_mean).repeat_interleave(PATCH * PATCH)
    std = torch.tensor(look.image_std).repeat_interleave(PATCH * PATCH)
    return (pixels.float() / 255 - mean) / std


def truths(rows: list[Row], measures: list[Measures]) -> Tensor:
    """[N, 3 + measures]: class (−1 if unknown), severity and score (NaN if unknown), grades."""
    found = []
    for row, values in zip(rows, measures, strict=True):
        grades = [
            grade(name, getattr(values, name)) / len(cuts)
            for name, cuts in CUTS.items()
            if name != "clipped"
        ]
        grades += [
            grade("clipped", share) / len(CUTS["clipped"])
            for share in (values.clipped_highlights, values.clipped_shadows)
        ]
        known = bool(row.distortion)
        found.append(
            [
                CLASSES.index(row.distortion) if known else -1,
                (row.severity or 0) / 5 if known else np.nan,
                np.nan if row.score is None else row.score / 4,
                *grades,
            ]
        )
    return torch.tensor(found, dtype=torch.float32)


class Heads(nn.Module):
    """What is read off the tower's tokens while it learns, each by one linear layer.

    Normalised over the batch, as pictures differ little beside what they share.
    """

    def __init__(self, kept: int, embedding: int, numbers: int) -> None:
        super().__init__()
        self.sizes = [len(CLASSES), numbers, embedding]
        self.token = nn.Sequential(nn.BatchNorm1d(OUTPUT), nn.Linear(OUTPUT, kept))
        self.whole = nn.Sequential(nn.BatchNorm1d(OUTPUT), nn.Linear(OUTPUT, sum(self.sizes)))

    def forward(self, pooled: Tensor) -> tuple[Tensor, ...]:
        return self.whole(pooled).split(self.sizes, 1)


def learn(
    tower: Any, processor: Any, rows: list[Row], looks: Looks, train: np.ndarray,
    config: EyesConfig, folder: Path, on_step: Callable[[int, int, dict[str, float]], None],
) -> Heads:  # fmt: skip
    """Train the tower; its weights and heads go to `folder/eyes.pt`.

    Args:
        train: places of the rows to learn from.
        on_step: called with (steps done, steps, the parts of the loss and the share of right
            classes).
    """
    torch.manual_seed(config.seed)
    truth = truths(rows, looks.measures)
    sample = np.random.default_rng(0).permutation(train)[:2000]
    whole = torch.tensor(looks.whole[sample].astype(np.float32))
    whole_mean, whole_std = whole.mean(0), whole.std(0) + 1e-3
    tokens = np.concatenate([looks.tokens[i, : looks.grid[i].prod()] for i in sample[:300]])
    power = float((tokens.astype(np.float32) ** 2).mean())
    heads = Heads(looks.tokens.shape[2], looks.whole.shape[1], truth.shape[1] - 1)
    done = folder / "eyes.pt"
    if done.is_file():
        state = torch.load(done, weights_only=True)
        tower.load_state_dict(state["tower"])
        heads.load_state_dict(state["heads"])
        return heads.eval()
    groups = decay_groups(tower.named_parameters(), 0.05)
    optimizer = torch.optim.AdamW(
        [*groups, {"params": list(heads.parameters())}], betas=(0.9, 0.98)
    )
    checkpoint = Checkpoint(
        folder / "eyes-checkpoint.pt", repr(config), tower=tower, head=heads, optimizer=optimizer
    )
    start_as_spectrum(
        tower,
        normalised(torch.cat([patches(looks, i, (0, 0, *looks.grid[i]), False)[::7]
                              for i in sample[:64]]), processor),
    )  # fmt: skip
    share = np.array([1.0 if rows[i].severity else NULL_SHARE for i in train])
    share[[rows[i].score is None and (rows[i].severity or 0) < 2 for i in train]] = PLAIN_SHARE
    share /= share.sum()
    steps = config.part_steps + config.whole_steps
    step = checkpoint.resume()
    tower.train()
    heads.train()
    while step < steps:
        draw = np.random.default_rng((config.seed, step))
        in_parts = step < config.part_steps
        count = config.part_batch if in_parts else config.whole_batch
        chosen = draw.choice(train, count, replace=False, p=share)
        pixels, grids, wanted = [], [], []
        for index in chosen:
            h, w = map(int, looks.grid[index])
            box = (0, 0, h, w)
            if in_parts:
                size = min(h, PART), min(w, PART)
                box = (
                    int(draw.integers(h - size[0] + 1)),
                    int(draw.integers(w - size[1] + 1)),
                    *size,
                )
            flip = bool(draw.random() < 0.5)
            pixels.append(patches(looks, index, box, flip))
            grids.append((1, box[2] * MERGE, box[3] * MERGE))
            cells = looks.tokens[index, : h * w].reshape(h, w, -1)
            cells = cells[box[0] : box[0] + box[2], box[1] : box[1] + box[3]]
            cells = cells[:, ::-1] if flip else cells
            wanted.append(torch.tensor(cells.reshape(-1, cells.shape[2]).astype(np.float32)))
        made = tower(
            normalised(torch.cat(pixels), processor), grid_thw=torch.tensor(grids)
        ).pooler_output
        pooled = torch.stack(  # half the tokens, so that each learns to tell of the whole
            [
                part[torch.randperm(len(part))[: (len(part) + 1) // 2]].mean(0)
                for part in made.split([len(part) for part in wanted])
            ]
        )
        names, numbers, embedding = heads(pooled)
        own = truth[chosen]
        known = ~own[:, 1:].isnan()
        if in_parts:
            known[:, 2:] = False  # the measures are of the whole
        parts = {
            "tokens": 0.5 * F.mse_loss(heads.token(made), torch.cat(wanted)) / power,
            "class": 2 * F.cross_entropy(names, own[:, 0].long(), ignore_index=-1),
            "numbers": 15 * F.mse_loss(numbers[known], own[:, 1:][known]),
        }
        goal = (torch.tensor(looks.whole[chosen].astype(np.float32)) - whole_mean) / whole_std
        parts["embedding"] = (0.25 if in_parts else 0.5) * F.mse_loss(embedding, goal)
        loss = torch.stack(list(parts.values())).sum()
        rate = cosine_schedule(step, steps, 0.03)
        for group, peak in zip(optimizer.param_groups, (1, 1, 3), strict=True):
            group["lr"] = config.lr * peak * rate
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        optimizer.step()
        step += 1
        right = (names.argmax(1) == own[:, 0])[own[:, 0] >= 0].float().mean().item()
        on_step(step, steps, {name: part.item() for name, part in parts.items()} | {"right": right})
        if step < steps and step % 100 == 0:
            checkpoint.save(step)
    torch.save({"tower": tower.state_dict(), "heads": heads.state_dict()}, done)
    (folder / "eyes-checkpoint.pt").unlink(missing_ok=True)
    return heads.eval()


@torch.inference_mode()
def seen(tower: Any, processor: Any, looks: Looks, chosen: Sequence[int]) -> list[Tensor]:
    """The visual tokens [h · w, OUTPUT] of pictures."""
    tower.eval()
    found: list[Tensor] = []
    for start in range(0, len(chosen), 16):
        own = chosen[start : start + 16]
        pixels = [patches(looks, i, (0, 0, *map(int, looks.grid[i])), False) for i in own]
        grids = torch.tensor([(1, *(looks.grid[i] * MERGE)) for i in own])
        made = tower(normalised(torch.cat(pixels), processor), grid_thw=grids).pooler_output
        found += made.split([int(looks.grid[i].prod()) for i in own])
    return found


@torch.inference_mode()
def probe(
    tower: Any, processor: Any, heads: Heads, rows: list[Row], looks: Looks, val: np.ndarray
) -> dict[str, float]:
    """How much one linear layer reads off the tokens' mean, on photographs that were held out."""
    chosen = np.array([i for i in val if rows[i].distortion and rows[i].score is not None])
    pooled = torch.stack([part.mean(0) for part in seen(tower, processor, looks, chosen)])
    names, numbers, _ = heads(pooled)
    truth = truths([rows[i] for i in chosen], [looks.measures[i] for i in chosen])
    null, right = truth[:, 0] == 0, names.argmax(1) == truth[:, 0]
    return {
        "pictures": len(chosen),
        "class": right.float().mean().item(),
        "null": right[null].float().mean().item(),
        "null claimed wrongly": (names.argmax(1) == 0)[~null].float().mean().item(),
        "severity within 1": ((numbers[:, 0] - truth[:, 1]).abs() < 0.3).float().mean().item(),
        "score SRCC": srcc(numbers[:, 1].numpy(), truth[:, 2].numpy()),
    }
