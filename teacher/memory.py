"""How much GPU memory a training takes, from the shapes of the model's weights alone.

In: settings and a batch plan. Out: a sentence. Shapes come from the headers of the model's files
where it is on this machine, else from `shapes.json`; neither torch nor transformers is imported, so
that a dry run takes seconds.
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
from .grpo import GrpoConfig
from .models import NANO
from .plan import BatchPlan, MemoryEstimate, estimate_memory
from .prompts import Prompt
from .sft import SftConfig

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
            with "visual.".
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
        layer = name.removesuffix(".weight").rpartition(".")[2]
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


def learning_weights(settings: GrpoConfig | SftConfig, shape: Shape) -> int:
    """How many weights a training changes, or its adapter has."""
    parts = getattr(settings, "parts", "all")
    eyes = getattr(settings, "vision", True) and parts != "language"
    if rank := settings.lora.rank:
        return sum(
            rank * (inputs + outputs) * count
            for name, inputs, outputs, count in shape.linear
            if name.rpartition(".")[2] in settings.lora.targets
            and (eyes or not name.startswith("visual."))
        )
    if parts == "vision":
        return shape.vision
    return shape.parameters - (0 if eyes else shape.vision)


def memory_of(
    settings: GrpoConfig | SftConfig, shape: Shape, plan: BatchPlan | None = None, shards: int = 1
) -> MemoryEstimate:
    """GiB on one GPU; several processes share weights and optimiser, as with FSDP and ZeRO-3.

    Args:
        plan: of a `GrpoConfig`. shards: number of processes of an `SftConfig`.
    """
    pixels = settings.max_pixels or VISUAL_TOKENS * shape.token**2
    visual = pixels // shape.token**2
    half = 2 * shape.parameters
    if settings.quantization:  # but for embeddings and norms, 4 bits and a scale for 64 weights
        halved = sum(inputs * outputs * count for _, inputs, outputs, count in shape.linear)
        half = int(half - 2 * halved + 0.52 * halved)
    shared = {"trained": learning_weights(settings, shape), "weights": half}
    if isinstance(settings, SftConfig):  # the logits of prompt and text are computed
        return estimate_memory(
            shape, shape.parameters, **shared, micro_batch=settings.micro_batch, rollouts=0,
            prompt_tokens=0, completion_tokens=visual + 2 * TEXT_TOKENS, reference=False,
            shards=shards,
        )  # fmt: skip
    assert plan is not None
    prompts: list[Prompt] = [task.resolve() for task in settings.tasks]
    return estimate_memory(
        shape,
        shape.parameters,
        **shared,
        micro_batch=plan.micro_batch,
        rollouts=plan.local,
        prompt_tokens=TEXT_TOKENS + visual * max(len(prompt.images) for prompt in prompts),
        completion_tokens=settings.max_completion_length,
        reference=settings.beta > 0 and not settings.lora.rank,
        shards=plan.processes,
    )


def describe_memory(
    settings: GrpoConfig | SftConfig, plan: BatchPlan | None = None, shards: int = 1
) -> str:
    """The estimate in words."""
    shape = model_shape(settings.model, settings.revision)
    if shape is None:
        return f"GPU memory is not known, as {settings.model} is not on this machine."
    found = memory_of(settings, shape, plan, shards)
    words = f"GPU memory: {found.words()}"
    if "reference" in found.parts and plan and plan.processes > 1:
        words += " The reference model of the KL term is whole on each GPU, as FSDP2 gathers it "
        words += "whole."
    if settings.max_pixels:
        words += " This counts every picture at max_pixels; smaller ones take less."
    else:
        words += f" This counts {VISUAL_TOKENS:,} visual tokens a picture, as max_pixels is not "
        words += "set; large pictures take more."
    if settings.trl.get("use_vllm"):
        share = float(settings.trl.get("vllm_gpu_memory_utilization", 0.3))
        words += f" vLLM beside it takes {share:.0%} of each GPU."
    return words
