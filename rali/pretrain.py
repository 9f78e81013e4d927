"""Pretrain nano's two towers from scratch on degraded photographs and reference rationales.

In come pictures with several texts each; out comes a folder with both towers, the place from
which every nano distillation starts, as ViT-L's starts from CLIP's.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .align import cosine_schedule, multi_positive_infonce
from .encoders import nano_preprocess
from .errors import InputError
from .images import PictureBatches
from .nano import NanoConfig, NanoImageEncoder, NanoTextEncoder


@dataclass
class PretrainConfig:
    """How nano is pretrained.

    Attributes:
        epochs: passes over the pictures. batch_size: pictures compared with each other.
        lr: peak rate of AdamW. warmup: share of steps. weight_decay: AdamW's.
        seed: of weights and batches.
        nano: the architecture.
    """

    epochs: float = 15.0
    batch_size: int = 96
    lr: float = 2e-3
    warmup: float = 0.05
    weight_decay: float = 0.05
    seed: int = 0
    nano: NanoConfig = field(default_factory=NanoConfig)


def pretrain(
    pictures: Sequence[Path],
    texts: Sequence[Sequence[str]],
    config: PretrainConfig,
    folder: str | Path,
    *,
    report: Callable[[int, int, float], None] | None = None,
) -> Path:
    """Train both towers with CLIP's loss and save them to `folder`, as float16 safetensors.

    A stopped call goes on from `folder/pretrain.pt`, saved once a minute.

    Args:
        pictures: the files. texts: per picture its rationales; one is drawn per step.
        report: called with (step, steps, loss).

    Raises:
        InputError: fewer pictures than a batch, or a picture without a text.
    """
    from safetensors.torch import save_file

    if len(pictures) < config.batch_size or len(pictures) != len(texts):
        raise InputError(
            f"pretraining needs at least one batch of {config.batch_size} pictures with texts; "
            f"given {len(pictures)} pictures and texts for {len(texts)}."
        )
    if not all(texts):
        raise InputError("pretraining needs a text for every picture; some have none.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    image, text = NanoImageEncoder(config.nano), NanoTextEncoder(config.nano)
    image.to(device).to(memory_format=torch.channels_last).train()
    text.to(device).train()
    log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07), device=device))
    named = [*image.named_parameters(), *text.named_parameters()]
    decayed = [p for n, p in named if p.ndim > 1 and "tokens" not in n and "positions" not in n]
    rest = [p for n, p in named if p.ndim <= 1 or "tokens" in n or "positions" in n]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": [*rest, log_scale], "weight_decay": 0.0},
        ],
        lr=config.lr,
        betas=(0.9, 0.98),
    )
    batches = PictureBatches(pictures, nano_preprocess(config.nano), keep=True)
    steps = max(1, round(config.epochs * len(pictures) / config.batch_size))
    checkpoint = folder / "pretrain.pt"
    modules = {"image": image, "text": text}
    step, saved = 0, time.monotonic()
    if checkpoint.is_file():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if state["config"] != str(config):
            raise InputError(
                f"{checkpoint} is of a run with other settings; give another folder, or delete it "
                "to start again."
            )
        for name, module in modules.items():
            module.load_state_dict(state[name])
        optimizer.load_state_dict(state["optimizer"])
        log_scale.data.copy_(state["log_scale"])
        torch.set_rng_state(state["rng"].cpu())
        step = state["step"]
    while step < steps:
        draw = np.random.default_rng((config.seed, step))
        chosen = draw.choice(len(pictures), config.batch_size, replace=False)
        pixels = batches.pixels(chosen, flip=draw.random(len(chosen)) < 0.5).to(device)
        drawn = [texts[i][int(draw.integers(len(texts[i])))] for i in chosen.tolist()]
        own: Tensor = torch.arange(len(chosen), device=device)
        loss = multi_positive_infonce(
            image(pixels), text(text.tokenize(drawn).to(device)), own, own, log_scale.exp()
        )
        for group in optimizer.param_groups:
            group["lr"] = config.lr * cosine_schedule(step, steps, config.warmup)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([p for _, p in named], 1.0)
        optimizer.step()
        log_scale.data.clamp_(0, math.log(100))
        step += 1
        if report:
            report(step, steps, loss.item())
        if time.monotonic() - saved > 60 and step < steps:
            temporary = checkpoint.with_suffix(".tmp")
            torch.save(
                {name: module.state_dict() for name, module in modules.items()}
                | {
                    "optimizer": optimizer.state_dict(),
                    "log_scale": log_scale.detach(),
                    "rng": torch.get_rng_state(),
                    "step": step,
                    "config": str(config),
                },
                temporary,
            )
            temporary.replace(checkpoint)
            saved = time.monotonic()
    for name, module in modules.items():
        state = {
            key: (value.half() if value.is_floating_point() else value).cpu().contiguous()
            for key, value in module.state_dict().items()
        }
        save_file(state, folder / f"{name}.safetensors")
    (folder / "config.json").write_text(json.dumps(config.nano.to_dict(), indent=1) + "\n")
    checkpoint.unlink(missing_ok=True)
    return folder
