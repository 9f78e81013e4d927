"""Pretrain nano's two towers on degraded photographs and reference rationales.

In: pictures with several texts each, and a trunk's weights. Out: a folder with both towers, from
which a nano distillation starts, as a ViT-L's starts from CLIP's weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rali.errors import InputError
from rali.files import write_text
from rali.runs.progress import Progress, silent
from rali.student.nano import NanoConfig
from rali.student.nano_text import NanoTextEncoder
from rali.student.storage import write_tensors
from rali.student.trunk import TrunkEncoder
from rali.student.trunk_weights import find_trunk_weights, trunk_weights

from .batches import PictureBatches
from .infonce import LogitScale, multi_positive_infonce
from .optim import Checkpoint, cosine_schedule, decay_groups

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass
class PretrainConfig:
    """How nano is pretrained.

    Attributes:
        epochs: passes over the pictures. batch_size: pictures compared with each other.
        siblings: versions of one photograph that stand together in a batch. Two photographs can
            be told apart by their content; two versions of one only by their quality.
        shortened: share of the texts of which only some sentences are kept, at random: a verdict
            follows from the faults named beside it, and is only learnt where it stands alone.
        lr: peak learning rate of AdamW. warmup: share of the steps. weight_decay: AdamW's.
        seed: seed of weights and batches.
        nano: the architecture.
        trunk: a file or a Python package with the trunk's weights; empty for random ones.
    """

    epochs: float = 6.0
    batch_size: int = 96
    siblings: int = 8
    shortened: float = 0.5
    lr: float = 2e-3
    warmup: float = 0.05
    weight_decay: float = 0.05
    seed: int = 0
    nano: NanoConfig = field(default_factory=NanoConfig)
    trunk: str = ""


def pretrain(
    pictures: Sequence[Path],
    texts: Sequence[Sequence[str]],
    contents: Sequence[str],
    config: PretrainConfig,
    folder: str | Path,
    *,
    progress: Progress = silent,
) -> Path:
    """Train both towers with CLIP's loss and save them to `folder`, as float16 safetensors.

    A stopped call resumes from `folder/pretrain.pt`, which is saved once a minute.

    Args:
        pictures: the files. texts: the rationales of each picture; one is drawn per step.
        contents: the photograph that each picture is a version of.

    Raises:
        InputError: fewer pictures than a batch, or a picture without a text.
    """
    if len(pictures) < config.batch_size or not len(pictures) == len(texts) == len(contents):
        raise InputError(
            f"Pretraining needs at least one batch of {config.batch_size} pictures with texts and "
            f"contents; given {len(pictures)} pictures, texts for {len(texts)} and contents for "
            f"{len(contents)}."
        )
    if not all(texts):
        raise InputError("Pretraining needs a text for every picture; some have none.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    architecture = config.nano.image
    state = None
    if config.trunk:
        file = find_trunk_weights(architecture.trunk, config.trunk)
        state = trunk_weights(architecture.trunk, file)
    image, text = TrunkEncoder(architecture, state), NanoTextEncoder(config.nano.text)
    image.to(device).to(memory_format=torch.channels_last).train()
    text.to(device).train()
    scale = LogitScale(0.07).to(device)
    modules = {"image": image, "text": text, "scale": scale}
    named = [pair for module in modules.values() for pair in module.named_parameters()]
    optimizer = torch.optim.AdamW(
        decay_groups(named, config.weight_decay, spared=("tokens", "positions")),
        lr=config.lr,
        betas=(0.9, 0.98),
    )
    batches = PictureBatches(pictures, config.nano.preprocess, keep=True)
    per_epoch = -(-len(pictures) // config.batch_size)
    steps = max(1, round(config.epochs * per_epoch))
    checkpoint_file = folder / "pretrain.pt"
    checkpoint = Checkpoint(checkpoint_file, str(config), optimizer=optimizer, **modules)
    step = checkpoint.resume()
    while step < steps:
        draw = np.random.default_rng((config.seed, step, 1))
        epoch, place = divmod(step, per_epoch)
        order = _grouped(contents, config.siblings, np.random.default_rng((config.seed, epoch)))
        chosen = np.array_split(order, per_epoch)[place]  # all of them, in nearly equal parts
        pixels = batches.pixels(chosen, flip=draw.random(len(chosen)) < 0.5).to(device)
        drawn = [texts[i][int(draw.integers(len(texts[i])))] for i in chosen.tolist()]
        drawn = [
            _some_sentences(text, draw) if draw.random() < config.shortened else text
            for text in drawn
        ]
        owner: Tensor = torch.arange(len(chosen), device=device)
        loss = multi_positive_infonce(
            image(pixels), text(text.tokenize(drawn).to(device)), owner, owner, scale()
        )
        for group in optimizer.param_groups:
            group["lr"] = config.lr * cosine_schedule(step, steps, config.warmup)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([p for _, p in named], 1.0)
        optimizer.step()
        scale.clamp()
        step += 1
        progress("pretrain", step, steps, loss.item())
        if step < steps:
            checkpoint.save(step)
    for name in ("image", "text"):
        state = {
            key: (value.half() if value.is_floating_point() else value).cpu().contiguous()
            for key, value in modules[name].state_dict().items()
        }
        write_tensors(state, folder / f"{name}.safetensors")
    write_text(folder / "config.json", json.dumps(config.nano.to_dict(), indent=1) + "\n")
    checkpoint_file.unlink(missing_ok=True)
    return folder


def _some_sentences(text: str, draw: np.random.Generator) -> str:
    """Keep each sentence with a probability of one half, and at least one."""
    sentences = _SENTENCE_END.split(text)
    kept = draw.random(len(sentences)) < 0.5
    kept[draw.integers(len(sentences))] = True
    return " ".join(s for s, keep in zip(sentences, kept, strict=True) if keep)


def _grouped(contents: Sequence[str], size: int, draw: np.random.Generator) -> np.ndarray:
    """All indices in random order, each once, with up to `size` of one content in a row."""
    members: dict[str, list[int]] = {}
    for index in draw.permutation(len(contents)).tolist():
        members.setdefault(contents[index], []).append(index)
    groups = [some[i : i + size] for some in members.values() for i in range(0, len(some), size)]
    return np.concatenate([groups[i] for i in draw.permutation(len(groups))])
