"""Encoders by name: an image tower, a text tower and the preprocess that travels with them.

`nano` is this project's own (`rali.student.nano`, weights in the package); every other name is
`open_clip`'s, with weights from the Hub or a local file. What differs from family to family is in
one table, `FAMILIES`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rali.errors import InputError, require
from rali.pictures.preprocess import Preprocess
from rali.runs.progress import Progress, silent

from .nano import NanoConfig, NanoImageEncoder, NanoTextEncoder

NANO = "nano"
RANDOM = "random"


class TextTower(nn.Module):
    """A frozen text encoder: texts in, embeddings [n, D] out (not normalised).

    Args:
        model: token ids [n, context] → embeddings [n, D], by `encode_text` where it has one.
        tokenizer: texts → token ids.
        is_truncated: whether a text is longer than the context, so that its end is cut.
    """

    def __init__(
        self, model: nn.Module, tokenizer: Any, is_truncated: Callable[[str], bool]
    ) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.is_truncated = is_truncated

    @torch.no_grad()
    def encode(
        self, texts: Sequence[str], batch_size: int = 256, *, progress: Progress = silent
    ) -> Tensor:
        """Embeddings [len(texts), D], float32, on the CPU; computed on a GPU where there is one."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        embed = getattr(self.model.to(device), "encode_text", self.model)
        parts = []
        for start in range(0, len(texts), batch_size):
            chunk = list(texts[start : start + batch_size])
            parts.append(embed(self.tokenizer(chunk).to(device)).float().cpu())
            progress("texts", start + len(chunk), len(texts))
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
        InputError: an unknown name or tag, or weights that cannot be loaded.
    """
    return family_of(name).load(name, find_pretrained(name, pretrained), text)


def find_pretrained(name: str, pretrained: str | None = None) -> str | None:
    """The weights that `load_encoder` would load: a tag, a file, a folder or `random`.

    None means that open_clip has no weights of this encoder. Nothing is loaded.

    Raises:
        InputError: an unknown name, or weights that are not there.
    """
    return family_of(name).find(name, pretrained)


def image_tower(spec: dict[str, Any]) -> nn.Module:
    """The image tower of a saved `spec`, without weights."""
    return family_of(spec["name"]).rebuild(spec)


@torch.inference_mode()
def embed_batches(
    image: nn.Module, batches: Iterable[Tensor], total: int, progress: Progress = silent
) -> Iterator[Tensor]:
    """Embeddings [batch, dim] of one batch of pixels [batch, 3, S, S] after the other.

    They are on the image tower's device, whose mode and type are left as they are.

    Args:
        total: pictures in all batches, for `progress`.
    """
    device = next(image.parameters()).device
    done = 0
    for pixels in batches:
        yield image(pixels.to(device))
        done += len(pixels)
        progress("embed", done, total)


def nano_preprocess(config: NanoConfig) -> Preprocess:
    """The shorter edge to S and a centre crop: a squashed picture is blurred along one axis."""
    return Preprocess(
        size=config.size,
        mean=config.mean,
        std=config.std,
        interpolation="bicubic",
        resize_mode="shortest",
    )


def _find_nano(name: str, pretrained: str | None) -> str:
    if pretrained == RANDOM:
        return RANDOM
    folder = (
        Path(pretrained) if pretrained else Path(str(files("rali") / "student" / "nano_weights"))
    )
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{folder} holds no nano weights: expected config.json, image.safetensors and "
            "text.safetensors. Give a folder written by recipes/weights/pretrain_nano.py, or "
            "nothing for the packaged ones."
        )
    return str(folder)


def _load_nano(name: str, pretrained: str | None, text: bool) -> Encoder:
    from safetensors.torch import load_file

    folder = None if pretrained in (None, RANDOM) else Path(str(pretrained))
    config = NanoConfig()
    if folder is not None:
        config = NanoConfig.from_dict(json.loads((folder / "config.json").read_text("utf-8")))
    image, tower = NanoImageEncoder(config), NanoTextEncoder(config)
    if folder is not None:
        for module, file in ((image, "image"), (tower, "text")):
            state = load_file(folder / f"{file}.safetensors")
            module.load_state_dict({key: value.float() for key, value in state.items()})
    return Encoder(
        spec={"name": name, "config": config.to_dict()},
        image=image.eval(),
        text=TextTower(tower, tower.tokenize, tower.is_truncated) if text else None,
        preprocess=nano_preprocess(config),
        dim=config.embed_dim,
    )


def _rebuild_nano(spec: dict[str, Any]) -> nn.Module:
    return NanoImageEncoder(NanoConfig.from_dict(spec["config"]))


def _find_open_clip(name: str, pretrained: str | None) -> str | None:
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


def _load_open_clip(name: str, pretrained: str | None, text: bool) -> Encoder:
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


def _rebuild_open_clip(spec: dict[str, Any]) -> nn.Module:
    open_clip = require("open_clip", "distill")
    return _plain(open_clip.create_model(spec["name"], pretrained=None).visual)


def _rebuild_clip(spec: dict[str, Any]) -> nn.Module:
    """A CLIP of any size, as `rali convert official-rali` writes it; the text tower is a stub."""
    open_clip = require("open_clip", "distill")
    stub = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}
    return open_clip.CLIP(
        spec["embed_dim"], spec["vision_cfg"], stub, quick_gelu=spec["quick_gelu"]
    ).visual


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


@dataclass(frozen=True)
class EncoderFamily:
    """What holds for all encoders of one kind.

    Attributes:
        find: takes a name and what was given as `pretrained`, returns the weights to load.
        load: takes a name, those weights and whether the text tower is wanted, returns the towers.
        rebuild: takes a saved spec, returns the image tower without weights.
        packaged: the weights come with the package.
        casts: the layers may be cast to bfloat16 or float16. Nano computes its spectra in float32.
        any_size: the image tower takes pixels of any size, not only of the preprocess's.
    """

    find: Callable[[str, str | None], str | None]
    load: Callable[[str, str | None, bool], Encoder]
    rebuild: Callable[[dict[str, Any]], nn.Module]
    packaged: bool = False
    casts: bool = True
    any_size: bool = False


OPEN_CLIP = EncoderFamily(_find_open_clip, _load_open_clip, _rebuild_open_clip)
FAMILIES = {
    NANO: EncoderFamily(
        _find_nano, _load_nano, _rebuild_nano, packaged=True, casts=False, any_size=True
    ),
    "clip": replace(OPEN_CLIP, rebuild=_rebuild_clip),  # converted, under no name of open_clip's
}


def family_of(name: str) -> EncoderFamily:
    """The family of an encoder by its name; every name that is not in the table is open_clip's."""
    return FAMILIES.get(name, OPEN_CLIP)
