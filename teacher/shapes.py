"""The shape of a teacher's weights, from the headers of its files or from `shapes.json`.

In: a model's name. Out: what a dry run counts GPU memory, tokens and layers with. Nothing is
downloaded, and neither torch nor transformers is imported.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rali.errors import InputError, require
from rali.files import read_json

from .adapter import VISION
from .models import NANO

TEXT_TOKENS = 200  # of the longest prompt, without its pictures; also of a rationale
VISUAL_TOKENS = 1280  # counted for a picture where max_pixels is not set
# Models of the Hub with the shapes of another.
SAME = {
    "ByteDance/Q-Insight/score_degradation": "Qwen/Qwen2.5-VL-7B-Instruct",
    "ByteDance/Q-Insight/comparison": "Qwen/Qwen2.5-VL-7B-Instruct",
    "TianheWu/VisualQuality-R1-7B": "Qwen/Qwen2.5-VL-7B-Instruct",
    "TianheWu/VisualQuality-R1-7B-preview": "Qwen/Qwen2.5-VL-7B-Instruct",
}


@dataclass(frozen=True)
class Shape:
    """What the arithmetic needs to know of a model.

    Attributes:
        hidden_size, num_hidden_layers, intermediate_size, vocab_size: of the language model.
        kv: width of all key heads of one of its layers.
        token: side in pixels of the square that becomes one visual token (28 in Qwen2.5-VL, 32 in
            Qwen3-VL).
        parameters: number of weights. vision: how many of them are the vision tower's.
        linear: (name, inputs, outputs, how many) of the linear layers; the vision tower's begin
            with "visual.". The name of a weight that is stored in another form is empty.
    """

    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    vocab_size: int
    kv: int
    token: int
    parameters: int
    vision: int
    linear: list[list[Any]]


def shape_from(config: dict[str, Any], weights: Iterable[tuple[str, list[int]]]) -> Shape | None:
    """The shape of a model with this config.json and these weights; None for an unknown config.

    Args:
        weights: (name, shape) of each weight, as in the model's files.
    """
    text = config.get("text_config") or config
    look = config.get("vision_config") or {}
    parameters = vision = 0
    linear: Counter[tuple[str, int, int]] = Counter()
    for name, sides in weights:
        size = 1
        for side in sides:
            size *= side
        seen = re.match(VISION, name) is not None
        parameters += size
        vision += size * seen
        whole = name.endswith(".weight")  # else packed, as AWQ's and GPTQ's, or no layer's
        layer = name.removesuffix(".weight").rpartition(".")[2] if whole else ""
        if len(sides) == 2 and not re.search("embed|lm_head", name):
            linear[("visual." * seen + layer, sides[1], sides[0])] += 1
    try:
        heads = text["num_attention_heads"]
        width = text.get("head_dim") or text["hidden_size"] // heads
        return Shape(
            hidden_size=text["hidden_size"],
            num_hidden_layers=text["num_hidden_layers"],
            intermediate_size=text["intermediate_size"],
            vocab_size=text["vocab_size"],
            kv=(text.get("num_key_value_heads") or heads) * width,
            token=look.get("patch_size", 14) * look.get("spatial_merge_size", 2),
            parameters=parameters,
            vision=vision,
            linear=[[*key, count] for key, count in sorted(linear.items())],
        )
    except (KeyError, TypeError):
        return None


def model_shape(model: str, revision: str = "") -> Shape | None:
    """The shape of a teacher; None where it is neither on this machine nor in `shapes.json`.

    Nothing is downloaded, and nobody waits for a Hub that cannot be reached.
    """
    from huggingface_hub import try_to_load_from_cache

    folder = NANO if model == "nano" else Path(model)
    if not folder.is_dir() and "/" in model:
        owner, name, *inside = model.split("/")
        config = "/".join([*inside, "config.json"])
        try:
            found = try_to_load_from_cache(f"{owner}/{name}", config, revision=revision or None)
        except ValueError:  # no name of the Hub
            found = None
        folder = Path(found).parent if isinstance(found, str) else folder
    files = sorted(folder.glob("*.safetensors")) if (folder / "config.json").is_file() else []
    if files:
        safetensors = require("safetensors", "teach")
        weights: list[tuple[str, list[int]]] = []
        for file in files:
            try:
                with safetensors.safe_open(file, "np") as opened:
                    weights += [(n, opened.get_slice(n).get_shape()) for n in opened.keys()]  # noqa: SIM118
            except (OSError, safetensors.SafetensorError) as error:
                raise InputError(f"{file} cannot be read: {error}") from error
        return shape_from(read_json(folder / "config.json", "Copy the folder again."), weights)
    shapes = read_json(Path(__file__).with_name("shapes.json"), "Install rali again.")
    known = shapes.get(SAME.get(model, model.replace("-Thinking", "-Instruct")))
    return known and Shape(**known)
