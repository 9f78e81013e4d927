"""A trunk's pretrained weights: from the Hub, a file or a Python package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from torch import Tensor

from rali.errors import InputError, require

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def find_trunk_weights(trunk: str, pretrained: str) -> str:
    """The file that `pretrained` means: a file itself, or the one that a Python package holds.

    Raises:
        InputError: it is neither, or the package holds more or fewer than one file of weights.
    """
    if Path(pretrained).is_file():
        return pretrained
    try:
        found = importlib.util.find_spec(pretrained) if pretrained.isidentifier() else None
    except (ImportError, ValueError):
        found = None
    if found is None:
        raise InputError(
            f"The weights {pretrained!r} of {trunk} are neither a file nor an installed Python "
            "package. Give a local file with --pretrained FILE, install the package, or give "
            "'random' to start from nothing."
        )
    places = [Path(place) for place in found.submodule_search_locations or []]
    inside = [f for place in places for f in place.rglob("*") if f.suffix in _SUFFIXES]
    if len(inside) != 1:
        raise InputError(
            f"The package {pretrained} holds {len(inside)} files of weights; expected one. Give "
            "the file itself with --pretrained FILE."
        )
    return str(inside[0])


def trunk_weights(trunk: str, pretrained: str) -> dict[str, Tensor]:
    """Weights by timm's names, from a file or, by timm's own name with its tag, from the Hub.

    A file whose names are another program's is taken tensor by tensor in its order, where every
    shape is that of timm's; it is refused otherwise.

    Raises:
        InputError: the weights cannot be loaded, or are not this trunk's.
    """
    timm = require("timm", "distill")
    try:
        if not Path(pretrained).is_file():
            return timm.create_model(pretrained, pretrained=True).state_dict()
        state = timm.models.load_state_dict(pretrained, device="cpu", use_ema=False)
    except Exception as error:  # timm and the Hub raise many types
        raise InputError(
            f"The weights {pretrained!r} of {trunk} could not be loaded ({error}). Give a local "
            "file with --pretrained FILE, or 'random' to start from nothing."
        ) from error
    wanted = timm.create_model(trunk).state_dict()
    if not set(wanted) <= set(state):
        shapes = [tuple(tensor.shape) for tensor in state.values()]
        if shapes != [tuple(tensor.shape) for tensor in wanted.values()]:
            raise InputError(
                f"{pretrained} does not hold weights of {trunk}: neither the names nor the order "
                f"of its {len(state)} tensors are timm's. Give --encoder timm/NAME of the trunk "
                "that they belong to."
            )
        state = dict(zip(wanted, state.values(), strict=True))
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }
