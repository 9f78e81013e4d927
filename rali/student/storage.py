"""Weights in fewer bytes: a state dict of float32 in, one in 8 bits or float16 out, and back.

In 8 bits each output channel of a matrix or kernel is a scale times whole numbers from −127 to 127.
What is stored is what every reader gets: the ONNX file of a student that was loaded from 8 bits has
the same weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from rali.files import replace_atomically

Storage = Literal["float32", "float16", "int8"]
SCALE = "/scale"  # behind a tensor's name: its scales
LARGE = 1024  # values; smaller tensors are stored in float16


def pack(state: Mapping[str, Tensor], storage: Storage) -> dict[str, Tensor]:
    """The tensors as they are stored; `unpack` returns them to float32.

    Args:
        storage: `int8` rounds matrices and kernels of 1,024 values or more; the rest is in float16,
            or in float32 where that would make a value infinite or, in a vector, zero.
    """
    packed: dict[str, Tensor] = {}
    for name, value in state.items():
        value = value.detach().cpu().contiguous()
        if storage == "float32" or not value.is_floating_point():
            packed[name] = value
        elif storage == "int8" and value.ndim >= 2 and value.numel() >= LARGE:
            packed[name], packed[name + SCALE] = to_8_bits(value)
        else:
            packed[name] = _halved(value)
    return packed


def _halved(value: Tensor) -> Tensor:
    half = value.half()
    lost = value.ndim < 2 and bool(((half == 0) & (value != 0)).any())
    return value if lost or not half.isfinite().all() else half


def write_tensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a `.safetensors` file, whole or not at all, that others may read as any new file.

    safetensors itself lets nobody but the user read what it writes, leaves a file of a name of its
    own where it is killed, and has its metadata in another order each time; here the same tensors
    are the same bytes.
    """
    from safetensors.torch import save

    def write(target: Path) -> None:
        target.write_bytes(save(dict(tensors), metadata=dict(metadata or {}) or None))
        _sort_metadata(target)

    replace_atomically(path, write, durable=True)


def _sort_metadata(path: Path) -> None:
    """Sort the metadata in the header of a `.safetensors` file: eight bytes of length, and JSON."""
    with path.open("rb+") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= length:  # the rest is filled with spaces, as it was
            file.seek(8)
            file.write(text.ljust(length))


def unpack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stored tensors in float32, where they are not whole numbers by themselves."""
    found = {}
    for name, value in state.items():
        if name.endswith(SCALE):
            continue
        scale = state.get(name + SCALE)
        if scale is not None:
            found[name] = value.float() * scale.view(-1, *[1] * (value.ndim - 1))
        else:
            found[name] = value.float() if value.is_floating_point() else value
    return found


def to_8_bits(value: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers, int8 in the shape of `value`, and the scale of each output channel [n]."""
    by_channel = value.reshape(len(value), -1)
    scale = by_channel.abs().amax(1).clamp_min(1e-12) / 127
    whole = (by_channel / scale[:, None]).round().clamp(-127, 127).to(torch.int8)
    return whole.reshape(value.shape).contiguous(), scale.float()
