"""Encoders by name: an image tower, a text tower and the preprocess that travels with them.

`nano` is this project's own (`rali.student.nano`, weights in the package); every other name is
`open_clip`'s, with weights from the hub or a local file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rali.errors import InputError, require
from rali.pictures.preprocess import Preprocess

from .nano import NanoConfig, NanoImageEncoder, NanoTextEncoder, token_count

NANO = "nano"


class TextTower(nn.Module):
    """A frozen text encoder: texts in, embeddings [n, D] out (not normalised)."""

    def __init__(self, model: nn.Module, tokenizer: Any, context: int) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.context = context

    def is_truncated(self, text: str) -> bool:
        """Whether the text is longer than the context and loses its end."""
        if isinstance(self.model, NanoTextEncoder):
            return token_count(text) > self.context
        encode = getattr(self.tokenizer, "encode", None)
        if encode is not None:
            return len(encode(text)) + 2 > self.context
        # A text that is not cut ends with padding, as the shorter empty text does.
        ids, padded = self.tokenizer([text, ""])[:, -1].tolist()
        return ids != padded

    @torch.no_grad()
    def encode(
        self,
        texts: Sequence[str],
        batch_size: int = 256,
        *,
        report: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Embeddings [len(texts), D], float32, on the CPU; on a GPU where there is one."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        embed = getattr(self.model.to(device), "encode_text", self.model)
        parts = []
        for start in range(0, len(texts), batch_size):
            chunk = list(texts[start : start + batch_size])
            parts.append(embed(self.tokenizer(chunk).to(device)).float().cpu())
            if report:
                report(start + len(chunk), len(texts))
        self.model.to("cpu")
        return torch.cat(parts)


@dataclass
class Encoder:
    """Both towers of one model.

    Attributes:
        spec: what rebuilds the image tower, as saved in `config.json`.
        image: pixels [batch, 3, S, S], normalised → embeddings [batch, dim].
        text: the frozen text tower; `None` where only the image side was asked for.
        preprocess: how pictures become those pixels.
    """

    spec: dict[str, Any]
    image: nn.Module
    text: TextTower | None
    preprocess: Preprocess
    dim: int


def load_encoder(name: str = NANO, pretrained: str | None = None, *, text: bool = True) -> Encoder:
    """Build an encoder with its pretrained weights.

    Args:
        name: `nano` or any name in `open_clip.list_models()`.
        pretrained: an open_clip tag (`openai`, `webli`, …), a weights file, `random`, or for nano
            a folder written by `rali.distill.pretrain_nano`. Default: the packaged weights for
            nano; for others the tag `openai` where open_clip has it, else its first.
        text: load the text tower too.

    Raises:
        InputError: unknown name or tag, or weights that cannot be had.
    """
    if name == NANO:
        return _nano(pretrained, text)
    return _open_clip(name, pretrained, text)


def image_tower(spec: dict[str, Any]) -> nn.Module:
    """The image tower of a saved `spec`, without weights."""
    if spec["name"] == NANO:
        return NanoImageEncoder(NanoConfig.from_dict(spec["config"]))
    open_clip = require("open_clip", "distill")
    if "vision_cfg" in spec:  # a converted CLIP, whatever its size; the text tower is a stub
        stub = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}
        return open_clip.CLIP(
            spec["embed_dim"], spec["vision_cfg"], stub, quick_gelu=spec["quick_gelu"]
        ).visual
    return _plain(open_clip.create_model(spec["name"], pretrained=None).visual)


def _plain(visual: Any) -> Any:
    """CoCa's image tower gives its tokens beside the embedding, unless told not to."""
    if getattr(visual, "output_tokens", False):
        visual.output_tokens = False
    return visual


def nano_preprocess(config: NanoConfig) -> Preprocess:
    """The shorter edge to S and a centre crop: a squashed picture is blurred along one axis."""
    return Preprocess(
        size=config.size,
        mean=config.mean,
        std=config.std,
        interpolation="bicubic",
        resize_mode="shortest",
    )


def _nano(pretrained: str | None, text: bool) -> Encoder:
    from safetensors.torch import load_file

    if pretrained == "random":
        config = NanoConfig()
        image, tower = NanoImageEncoder(config), NanoTextEncoder(config)
    else:
        folder = (
            Path(pretrained)
            if pretrained
            else Path(str(files("rali") / "student" / "nano_weights"))
        )
        if not (folder / "config.json").is_file():
            raise InputError(
                f"{folder} holds no nano weights: expected config.json, image.safetensors and "
                "text.safetensors. Give a folder written by recipes/weights/pretrain_nano.py, or "
                "nothing for the packaged ones."
            )
        config = NanoConfig.from_dict(json.loads((folder / "config.json").read_text()))
        image, tower = NanoImageEncoder(config), NanoTextEncoder(config)
        for module, file in ((image, "image"), (tower, "text")):
            state = load_file(folder / f"{file}.safetensors")
            module.load_state_dict({key: value.float() for key, value in state.items()})
    return Encoder(
        spec={"name": NANO, "config": config.to_dict()},
        image=image.eval(),
        text=TextTower(tower, tower.tokenize, config.context) if text else None,
        preprocess=nano_preprocess(config),
        dim=config.embed_dim,
    )


def _open_clip(name: str, pretrained: str | None, text: bool) -> Encoder:
    open_clip = require("open_clip", "distill")
    if name not in open_clip.list_models():
        raise InputError(
            f"no encoder is called {name!r}. Give 'nano' or a name that "
            '`python -c "import open_clip; print(open_clip.list_models())"` prints.'
        )
    tag = pretrained
    if tag is None:
        tag = _default_weights(open_clip, name)
    try:
        model = open_clip.create_model(name, pretrained=None if tag == "random" else tag)
    except Exception as error:
        raise InputError(
            f"the weights {tag!r} of {name} could not be loaded ({error}). Give a local file with "
            "--pretrained FILE, or 'random' to start from nothing."
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
    if text:  # some tokenizers are the hub's
        tower = TextTower(model, open_clip.get_tokenizer(name), model.context_length)
    return Encoder(
        spec={"name": name, "pretrained": tag},
        image=image,
        text=tower,
        preprocess=preprocess,
        dim=dim,
    )


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
        raise InputError(f"no weights fit {name}; those there are belong to {other}.")
    return next(iter(fitting), None)
