"""Encoders of open_clip: both towers by name, with weights from the Hub or a local file.

A name is one of `open_clip.list_models()`, such a name with a tag (`ViT-B-32:openai`), or one of
open_clip's own addresses, `hf-hub:OWNER/MODEL` and `local-dir:FOLDER`, whose weights and
preprocessing lie beside their description.
"""

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

ADDRESSES = ("hf-hub:", "local-dir:")
# The default among several tags, by what its name begins with: the largest trainings first.
PREFERRED = ("openai", "dfn5b", "datacomp_xl", "datacomp1b", "laion2b_s34b", "laion2b_s")
TRAITS = ("mean", "std", "interpolation", "resize_mode")  # of a tag's preprocessing


def find_open_clip(name: str, pretrained: str | None) -> str | None:
    """The weights to load: a tag, a file or `random`; of an address, the address itself.

    Raises:
        InputError: an unknown name or tag, weights of another activation, or a file of weights
            whose preprocessing open_clip does not tell.
    """
    open_clip = require("open_clip", "distill")
    if name.startswith(ADDRESSES):
        return _find_address(name, pretrained)
    model, tag = _parts(open_clip, name)
    given = pretrained or tag
    if given is None:
        return _default_weights(open_clip, model)
    if given != RANDOM and not open_clip.get_pretrained_cfg(model, given):
        if not Path(given).is_file():
            raise InputError(
                f"The weights {given!r} of {model} are neither a file nor one of its tags "
                f"({', '.join(_tags(open_clip, model)) or 'it has none'}). Give a local file with "
                "--pretrained FILE, or 'random' to start from nothing."
            )
        _traits_of_file(open_clip, model, tag)
    elif given != RANDOM:
        _check_fits(open_clip, model, given)
    return given


def load_open_clip(name: str, pretrained: str | None, text: bool) -> Encoder:
    open_clip = require("open_clip", "distill")
    address = name.startswith(ADDRESSES)
    random = pretrained in (None, RANDOM)
    model_name, tag = (name, None) if address else _parts(open_clip, name)
    traits = {}
    if not address and not random and not open_clip.get_pretrained_cfg(model_name, pretrained):
        traits = _traits_of_file(open_clip, model_name, tag)
    elif not address and random:  # its weights have seen no picture yet: any of its tags' will do
        traits = next(iter(_traits(open_clip, model_name).values()), {})
    try:
        model = open_clip.create_model(
            model_name,
            pretrained=None if random or address else pretrained,
            load_weights=not random,
            require_pretrained=not random,
            force_preprocess_cfg=traits,
        )
        tokenizer = open_clip.get_tokenizer(model_name) if text else None  # some are on the Hub
        described = open_clip.get_model_config(model_name)
    except Exception as error:
        raise InputError(
            f"The weights {pretrained!r} of {name} could not be loaded ({error}). Give a local "
            "file with --pretrained FILE, or 'random' to start from nothing."
        ) from error
    image = _plain(model.visual)
    settings = image.preprocess_cfg
    size = settings["size"]
    height, width = size if isinstance(size, list | tuple) else (size, size)
    if height != width:
        raise InputError(f"{name} takes pictures of {width}×{height}; rali's are square.")
    preprocess = Preprocess(size=height, **{trait: settings[trait] for trait in TRAITS})
    with torch.no_grad():
        probe = torch.zeros(1, 3, preprocess.size, preprocess.size)
        dim = image.eval()(probe).shape[-1]
    model.visual = nn.Identity()  # the text tower must not keep a second image tower alive
    tower = None
    if tokenizer is not None:
        tower = TextTower(model, tokenizer, partial(_is_cut, tokenizer, model.context_length))
    spec = {"name": name, "pretrained": pretrained}
    if address:  # what lies there may change or vanish: a student describes its tower itself
        spec |= _image_part(described)
    return Encoder(
        spec=spec,
        image=image,
        text=tower,
        preprocess=preprocess,
        dim=dim,
    )


def rebuild_open_clip(spec: dict[str, Any]) -> nn.Module:
    """The image tower alone, without weights: neither the Hub nor a folder is asked for it.

    Raises:
        InputError: open_clip here does not know the name, and the spec does not describe the tower.
    """
    open_clip = require("open_clip", "distill")
    if "vision_cfg" not in spec:
        model = str(spec["name"]).partition(":")[0].replace("/", "-")
        if model not in open_clip.list_models():  # such as hf-hub:… and local-dir:…
            raise InputError(
                f"The model's config.json names the encoder {spec['name']!r}, which open_clip does "
                "not know. A place on the Hub or on this machine is not followed from there."
            )
        spec = _image_part(open_clip.get_model_config(model))
    if trunk := spec["vision_cfg"].get("timm_model_name"):
        check_timm_name(trunk)
    stub = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}
    vision = {**spec["vision_cfg"], "timm_model_pretrained": False}
    clip = open_clip.CLIP(spec["embed_dim"], vision, stub, quick_gelu=spec["quick_gelu"])
    return _plain(clip.visual)


def _image_part(described: dict[str, Any]) -> dict[str, Any]:
    """What `rebuild_open_clip` needs of a description by open_clip."""
    return {
        "embed_dim": described["embed_dim"],
        "vision_cfg": described["vision_cfg"],
        "quick_gelu": bool(described.get("quick_gelu")),
    }


def _is_cut(tokenizer: Any, context: int, text: str) -> bool:
    encode = getattr(tokenizer, "encode", None)
    if encode is not None:
        return len(encode(text)) + 2 > context  # with the tokens of start and end
    # A text that is not cut ends with padding, as the shorter empty text does.
    ids, padded = tokenizer([text, ""])[:, -1].tolist()
    return ids != padded


def _plain(visual: Any) -> Any:
    """The image tower; CoCa's also returns its tokens, unless they are switched off."""
    if getattr(visual, "output_tokens", False):
        visual.output_tokens = False
    return visual


def _parts(open_clip: Any, name: str) -> tuple[str, str | None]:
    """The model and the tag of `MODEL:TAG`; OpenAI's `ViT-B/32` is `ViT-B-32`, as for open_clip."""
    written, _, tag = name.partition(":")
    model = written.replace("/", "-")
    if model not in open_clip.list_models():
        raise InputError(
            f"No encoder is called {name!r}. Give 'nano', 'timm/NAME', 'hf-hub:OWNER/MODEL', "
            "'local-dir:FOLDER', or a name that "
            '`python -c "import open_clip; print(open_clip.list_models())"` prints.'
        )
    if tag and tag not in _tags(open_clip, model):
        raise InputError(
            f"{model} has no tag {tag!r}; it has {', '.join(_tags(open_clip, model)) or 'none'}."
        )
    return model, tag or None


def _find_address(name: str, pretrained: str | None) -> str:
    if pretrained not in (None, RANDOM, name):
        raise InputError(f"{name} brings its own weights; leave out --pretrained {pretrained}.")
    folder = Path(name.removeprefix("local-dir:"))
    if name.startswith("local-dir:") and not (folder / "open_clip_config.json").is_file():
        raise InputError(f"{folder} has no open_clip_config.json, which 'local-dir:' needs.")
    return pretrained or name


def _tags(open_clip: Any, model: str) -> list[str]:
    return list(open_clip.list_pretrained_tags_by_model(model))


def _traits(open_clip: Any, model: str) -> dict[str, dict[str, Any]]:
    """Of each tag that fits the model its preprocessing."""
    found = {tag: open_clip.get_pretrained_cfg(model, tag) for tag in _tags(open_clip, model)}
    return {
        tag: {trait: settings[trait] for trait in TRAITS if trait in settings}
        for tag, settings in found.items()
        if _fits(open_clip, model, tag)
    }


def _traits_of_file(open_clip: Any, model: str, tag: str | None) -> dict[str, Any]:
    """The preprocessing of a file of weights: of the tag that it holds, or of all of them.

    Raises:
        InputError: no tag is named and they disagree, or the model has none.
    """
    traits = _traits(open_clip, model)
    if tag is not None:
        _check_fits(open_clip, model, tag)
        return traits[tag]
    kinds = {repr(settings): settings for settings in traits.values()}
    if len(kinds) == 1:
        return next(iter(kinds.values()))
    if not kinds:
        raise InputError(
            f"open_clip does not tell how pictures are prepared for {model}. Put the file beside "
            "an open_clip_config.json that does, and give --encoder local-dir:FOLDER."
        )
    names = [[tag for tag in traits if repr(traits[tag]) == kind] for kind in kinds]
    raise InputError(
        f"Weights of {model} differ in how pictures are prepared: "
        f"{' unlike '.join(', '.join(each) for each in names)}. Say which of them the file holds, "
        f"as in --encoder {model}:{names[0][0]} --pretrained FILE."
    )


def _fits(open_clip: Any, model: str, tag: str) -> bool:
    """Whether the weights were made with the model's own activation."""
    wanted = open_clip.get_pretrained_cfg(model, tag).get("quick_gelu")
    return bool(wanted) == bool(open_clip.get_model_config(model).get("quick_gelu"))


def _check_fits(open_clip: Any, model: str, tag: str) -> None:
    if not _fits(open_clip, model, tag):
        raise InputError(
            f"The weights {tag!r} need another activation than {model} has. Give --encoder "
            f"{_other(open_clip, model)}."
        )


def _other(open_clip: Any, model: str) -> str:
    """The model with the other activation."""
    quick = bool(open_clip.get_model_config(model).get("quick_gelu"))
    return model.removesuffix("-quickgelu") if quick else f"{model}-quickgelu"


def _default_weights(open_clip: Any, model: str) -> str | None:
    """Of the weights made with the model's own activation the first that `PREFERRED` names.

    Raises:
        InputError: there are weights, but all need QuickGELU and this model has GELU.
    """
    tags = _tags(open_clip, model)
    fitting = [tag for tag in tags if _fits(open_clip, model, tag)]
    if tags and not fitting:
        raise InputError(
            f"No weights fit {model}; those there are belong to {_other(open_clip, model)}."
        )

    def rank(tag: str) -> int:
        return next((n for n, stem in enumerate(PREFERRED) if tag.startswith(stem)), len(PREFERRED))

    return min(fitting, key=rank, default=None)
