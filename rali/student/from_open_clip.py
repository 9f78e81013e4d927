"""Encoders of open_clip: both towers by name, with weights from the Hub or a local file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rali.errors import InputError, require
from rali.pictures.preprocess import Preprocess

from .towers import RANDOM, Encoder, TextTower
from .trunk import check_timm_name


def find_open_clip(name: str, pretrained: str | None) -> str | None:
    open_clip = require("open_clip", "distill")
    if name not in open_clip.list_models():
        raise InputError(
            f"No encoder is called {name!r}. Give 'nano' or a name that "
            '`python -c "import open_clip; print(open_clip.list_models())"` prints.'
        )
    if pretrained is None:
        return _default_weights(open_clip, name)
    if (
        pretrained != RANDOM
        and not open_clip.get_pretrained_cfg(name, pretrained)
        and not Path(pretrained).is_file()
    ):
        tags = open_clip.list_pretrained_tags_by_model(name)
        raise InputError(
            f"The weights {pretrained!r} of {name} are neither a file nor one of its tags "
            f"({', '.join(tags) or 'it has none'}). Give a local file with --pretrained FILE, or "
            "'random' to start from nothing."
        )
    return pretrained


def load_open_clip(name: str, pretrained: str | None, text: bool) -> Encoder:
    open_clip = require("open_clip", "distill")
    try:
        model = open_clip.create_model(
            name, pretrained=None if pretrained == RANDOM else pretrained
        )
    except Exception as error:
        raise InputError(
            f"The weights {pretrained!r} of {name} could not be loaded ({error}). Give a local "
            "file with --pretrained FILE, or 'random' to start from nothing."
        ) from error
    image = _plain(model.visual)
    settings = image.preprocess_cfg
    size = settings["size"]
    preprocess = Preprocess(
        size=size[0] if isinstance(size, list | tuple) else size,
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
        interpolation=settings["interpolation"],
        resize_mode=settings["resize_mode"],
    )
    with torch.no_grad():
        probe = torch.zeros(1, 3, preprocess.size, preprocess.size)
        dim = image.eval()(probe).shape[-1]
    model.visual = nn.Identity()  # the text tower must not keep a second image tower alive
    tower = None
    if text:  # some tokenizers are loaded from the Hub
        tokenizer = open_clip.get_tokenizer(name)
        tower = TextTower(model, tokenizer, partial(_is_cut, tokenizer, model.context_length))
    return Encoder(
        spec={"name": name, "pretrained": pretrained},
        image=image,
        text=tower,
        preprocess=preprocess,
        dim=dim,
    )


def _is_cut(tokenizer: Any, context: int, text: str) -> bool:
    encode = getattr(tokenizer, "encode", None)
    if encode is not None:
        return len(encode(text)) + 2 > context  # with the tokens of start and end
    # A text that is not cut ends with padding, as the shorter empty text does.
    ids, padded = tokenizer([text, ""])[:, -1].tolist()
    return ids != padded


def rebuild_open_clip(spec: dict[str, Any]) -> nn.Module:
    open_clip = require("open_clip", "distill")
    if spec["name"] not in open_clip.list_models():  # such as hf-hub:… and local-dir:…
        raise InputError(
            f"The model's config.json names the encoder {spec['name']!r}, which open_clip does not "
            "know. A place on the Hub or on this machine is not followed from there."
        )
    return _plain(open_clip.create_model(spec["name"], pretrained=None).visual)


def rebuild_clip(spec: dict[str, Any]) -> nn.Module:
    """A CLIP of any size, as `rali convert official-rali` writes it; the text tower is a stub."""
    open_clip = require("open_clip", "distill")
    vision = spec["vision_cfg"]
    if trunk := vision.get("timm_model_name"):
        check_timm_name(trunk)
    if vision.get("timm_model_pretrained"):
        raise InputError(
            "The model's config.json wants pretrained weights of timm's; a model brings its own."
        )
    stub = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}
    return open_clip.CLIP(spec["embed_dim"], vision, stub, quick_gelu=spec["quick_gelu"]).visual


def _plain(visual: Any) -> Any:
    """The image tower; CoCa's also returns its tokens, unless they are switched off."""
    if getattr(visual, "output_tokens", False):
        visual.output_tokens = False
    return visual


def _default_weights(open_clip: Any, name: str) -> str | None:
    """The first weights made with the model's own activation, OpenAI's before others.

    Raises:
        InputError: there are weights, but all need QuickGELU and this model has GELU.
    """
    quick = bool(open_clip.get_model_config(name).get("quick_gelu"))
    tags = sorted(open_clip.list_pretrained_tags_by_model(name), key=lambda tag: tag != "openai")
    fitting = [
        tag
        for tag in tags
        if bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu")) == quick
    ]
    if tags and not fitting:
        other = name.removesuffix("-quickgelu") if quick else f"{name}-quickgelu"
        raise InputError(f"No weights fit {name}; those there are belong to {other}.")
    return next(iter(fitting), None)
