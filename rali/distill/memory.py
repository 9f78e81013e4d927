"""How much GPU memory the alignment takes: an encoder's name and settings in, GiB out.

The image tower is run once, open_clip's on pretended tensors, which have shapes and no memory, and
what it keeps for the gradient is counted. Weights, gradients and AdamW's two moments come on top.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from rali.student.encoders import OPEN_CLIP, family_of, load_encoder
from rali.student.from_open_clip import ADDRESSES
from rali.student.towers import RANDOM

from .align import AlignConfig, set_checkpointing

GIB = 2**30


@dataclass(frozen=True)
class Memory:
    """GiB: of weights with all that the optimizer keeps, and of activations of a micro-batch."""

    weights: float
    activations: float

    @property
    def total(self) -> float:
        return self.weights + self.activations


def align_memory(name: str, config: AlignConfig, batch: int) -> Memory | None:
    """About what the alignment of an encoder takes; None where its shape is not known here.

    Args:
        batch: pictures per process and step.
    """
    if name.startswith(ADDRESSES):  # its description may be on the Hub
        return None
    lower = config.precision != "fp32"
    count, plain, saving = _measured(name, lower)
    held = -(-batch // -(-batch // config.micro_batch))
    kept = saving if config.grad_checkpointing else plain
    return Memory(count * (18 if lower else 16) / GIB, held * kept / GIB)


def memory_words(name: str, config: AlignConfig, batch: int) -> str:
    """A sentence about `align_memory`, with what would take more or less; "" where unknown."""
    needed = align_memory(name, config, batch)
    other = replace(config, grad_checkpointing=not config.grad_checkpointing)
    changed = align_memory(name, other, batch)
    if needed is None or changed is None:
        return ""
    switched = "without" if config.grad_checkpointing else "with"
    differs = f"; {switched} align.grad_checkpointing {changed.total:.1f}"
    return (
        f"Memory: about {needed.total:.1f} GiB to align on a GPU, {needed.weights:.1f} of it for "
        f"weights and optimizer{differs if changed != needed else ''}. A smaller "
        "align.micro_batch takes less."
    )


@lru_cache
def _measured(name: str, lower: bool) -> tuple[int, float, float]:
    """The tower's parameters, and bytes per picture without and with checkpointing."""
    try:
        return _measure(*_pretended(name), lower)
    except DataDependentOutputException:  # batch normalisation, in some
        return _measure(OPEN_CLIP.rebuild({"name": name}).train(), nullcontext(), lower)


def _measure(
    tower: nn.Module, mode: AbstractContextManager[Any], lower: bool
) -> tuple[int, float, float]:
    count = sum(parameter.numel() for parameter in tower.parameters())
    plain = _kept(tower, mode, lower)
    if not set_checkpointing(tower, True):
        return count, plain, plain
    blocks = max(len(m) for m in tower.modules() if isinstance(m, nn.ModuleList | nn.Sequential))
    return count, plain, _kept(tower, mode, lower) + plain / blocks  # one block is made again


def _pretended(name: str) -> tuple[nn.Module, AbstractContextManager[Any]]:
    """The image tower, and the mode in which it runs."""
    if family_of(name) is not OPEN_CLIP:  # small, and not all of their operators can pretend
        encoder = load_encoder(name, RANDOM, text=False)
        image: Any = encoder.image.train()
        image.image_size = encoder.preprocess.size  # as open_clip's have it
        return image, nullcontext()
    mode = FakeTensorMode()
    with mode:
        return OPEN_CLIP.rebuild({"name": name}).train(), mode


def _kept(tower: nn.Module, mode: AbstractContextManager[Any], lower: bool) -> float:
    """Bytes per picture that the tower keeps for the gradient."""
    edge: Any = tower.image_size
    size = edge[0] if isinstance(edge, list | tuple) else edge
    found: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            found[tensor.untyped_storage()._cdata] = tensor  # held, so that no other gets its place
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with mode, hooks, torch.autocast("cpu", torch.bfloat16, enabled=lower):
        tower(torch.zeros(2, 3, size, size))
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values()) / 2
