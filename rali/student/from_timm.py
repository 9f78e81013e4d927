"""Encoders on timm's trunks.

A trunk has no text tower of its own: nano's is used, whose space the head learns in the alignment.
`timm/NAME` pools all of a trunk's stages, `timm/NAME:1,2,3` those alone.
"""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from rali.errors import InputError, require
from rali.pictures.preprocess import Preprocess

from .nano import nano_text
from .nano_text import NanoTextEncoder
from .towers import RANDOM, Encoder
from .trunk import TrunkConfig, TrunkEncoder
from .trunk_weights import find_trunk_weights, trunk_weights

PREFIX = "timm/"


def find_timm(name: str, pretrained: str | None) -> str | None:
    """The weights to load: a file, timm's full name with its tag, or `random`; None: it has none.

    Raises:
        InputError: timm has no such trunk, stages that are not numbers, or weights that are not
            there.
    """
    timm = require("timm", "distill")
    trunk, _ = _parts(name)
    if trunk.split(".")[0] not in timm.list_models():
        raise InputError(
            f"timm has no trunk called {trunk!r}. Give 'timm/' and a name that "
            '`python -c "import timm; print(timm.list_models())"` prints.'
        )
    if pretrained == RANDOM:
        return RANDOM
    if pretrained is not None:
        file = find_trunk_weights(trunk, pretrained)
        _check_agreement(timm, trunk)
        return file
    settings = timm.get_pretrained_cfg(trunk)
    if settings is None or not settings.has_weights:
        return None
    return f"{settings.architecture}.{settings.tag}" if settings.tag else settings.architecture


def load_timm(name: str, pretrained: str | None, text: bool) -> Encoder:
    """The trunk under a head that is not trained yet, and nano's text tower."""
    timm = require("timm", "distill")
    trunk, stages = _parts(name)
    tower = nano_text()
    dim = cast(NanoTextEncoder, tower.model).config.embed_dim
    config = TrunkConfig(trunk=trunk.split(".")[0], embed_dim=dim, stages=stages)
    state = None if pretrained in (None, RANDOM) else trunk_weights(trunk, str(pretrained))
    image = TrunkEncoder(config, state).eval()
    settings = timm.data.resolve_data_config({}, pretrained_cfg=_settings(timm, trunk))
    preprocess = Preprocess(
        size=settings["input_size"][-1],
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
        interpolation="bilinear" if settings["interpolation"] == "bilinear" else "bicubic",
        resize_mode="mirror",
    )
    return Encoder(
        spec={"name": name, "config": config.to_dict()},
        image=image,
        text=tower if text else None,
        preprocess=preprocess,
        dim=config.embed_dim,
    )


def rebuild_trunk(spec: dict[str, Any]) -> nn.Module:
    """The image tower of a saved spec, without weights."""
    return TrunkEncoder(TrunkConfig.from_dict(spec["config"]))


def _parts(name: str) -> tuple[str, tuple[int, ...]]:
    """timm's name of the trunk, and the stages to pool; none for all."""
    trunk, colon, listed = name.removeprefix(PREFIX).partition(":")
    if colon and not all(stage.strip().isdigit() for stage in listed.split(",")):
        raise InputError(
            f"The encoder {name!r} names the stages {listed!r}; expected whole numbers from 0, as "
            f"in {PREFIX}{trunk}:1,2,3."
        )
    return trunk, tuple(int(stage) for stage in listed.split(",")) if colon else ()


def _check_agreement(timm: Any, trunk: str) -> None:
    """A file's preprocessing is timm's default for its trunk, which must then be that of all tags.

    Raises:
        InputError: the tags disagree and none is named.
    """
    if "." in trunk:
        return
    kinds: dict[tuple[Any, ...], str] = {}
    for name in timm.list_pretrained(f"{trunk}.*"):
        settings = timm.get_pretrained_cfg(name)
        traits = settings.mean, settings.std, settings.interpolation, settings.input_size
        kinds.setdefault(traits, name)
    if len(kinds) > 1:
        names = list(kinds.values())
        raise InputError(
            f"Weights of {trunk} differ in how pictures are prepared: {' unlike '.join(names)}. "
            f"Say which of them the file holds, as in --encoder {PREFIX}{names[0]} "
            "--pretrained FILE."
        )


def _settings(timm: Any, trunk: str) -> Any:
    settings = timm.get_pretrained_cfg(trunk)
    return settings.to_dict() if settings is not None else {}
