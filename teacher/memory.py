"""How much GPU memory a training takes, from the model's config alone.

In: settings and a batch plan. Out: a sentence. The model is built on the meta device, so that a 7B
model takes no memory here. Where its config cannot be read, one of `SHAPES` is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from rali.errors import require

from .grpo import GrpoConfig
from .models import teacher_place, vision_tower
from .plan import BatchPlan, MemoryEstimate, estimate_memory
from .prompts import Prompt

PIXELS_PER_TOKEN = 28 * 28
TEXT_TOKENS = 200  # of the longest prompt, without its pictures
# Sizes that Qwen publishes in config.json, for machines without the Hub.
SHAPES: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-VL-7B-Instruct": {
        "text_config": {
            "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
            "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
        },
        "vision_config": {
            "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
            "out_hidden_size": 3584,
        },
    },
}  # fmt: skip
SHAPES["ByteDance/Q-Insight"] = SHAPES["Qwen/Qwen2.5-VL-7B-Instruct"]  # what it was trained from


def model_config(model: str) -> Any:
    """transformers' config of a teacher; None where it is not on this machine nor in `SHAPES`.

    Nothing is downloaded, and nobody waits for a Hub that cannot be reached.
    """
    transformers = require("transformers", "teach")
    try:
        if model.count("/") > 1 and not Path(model).exists():  # a folder on the Hub
            raise OSError(model)
        return transformers.AutoConfig.from_pretrained(teacher_place(model), local_files_only=True)
    except (OSError, ValueError):
        shape = SHAPES.get(model) or SHAPES.get(model.rpartition("/")[0])
        return shape and transformers.Qwen2_5_VLConfig(**shape)


def on_meta(config: Any) -> nn.Module:
    """The model of a config, without memory for its weights."""
    transformers = require("transformers", "teach")
    with torch.device("meta"):
        model: nn.Module = transformers.AutoModelForImageTextToText.from_config(config)
    return model


def memory_of(settings: GrpoConfig, plan: BatchPlan, config: Any) -> MemoryEstimate:
    """GiB on one GPU; several processes share weights and optimiser, as with FSDP and ZeRO-3."""
    model = on_meta(config)
    total = sum(p.numel() for p in model.parameters())
    if settings.lora.rank:
        learning = sum(
            settings.lora.rank * (layer.in_features + layer.out_features)
            for name, layer in model.named_modules()
            if isinstance(layer, nn.Linear)
            and name.rpartition(".")[2] in settings.lora.targets
            and (settings.vision or "visual" not in name)
        )
    else:
        frozen = 0 if settings.vision else sum(p.numel() for p in vision_tower(model).parameters())
        learning = total - frozen
    prompts: list[Prompt] = [task.resolve() for task in settings.tasks]
    pictures = max(len(prompt.images) for prompt in prompts)
    pixels = settings.max_pixels or 28 * 28 * 1280
    return estimate_memory(
        config.get_text_config(),
        total,
        trained=learning,
        micro_batch=plan.micro_batch,
        rollouts=plan.local_prompts * plan.generations,
        prompt_tokens=TEXT_TOKENS + pictures * pixels // PIXELS_PER_TOKEN,
        completion_tokens=settings.max_completion_length,
        reference=settings.beta > 0 and not settings.lora.rank,
        shards=plan.processes,
    )


def describe_memory(settings: GrpoConfig, plan: BatchPlan) -> str:
    """The estimate in words."""
    config = model_config(settings.model)
    if config is None:
        return f"GPU memory is not known, as {settings.model} is not on this machine."
    words = f"GPU memory: {memory_of(settings, plan, config).words()}"
    if not settings.max_pixels:
        words += " This counts 1,280 visual tokens a picture, as max_pixels is not set; large "
        words += "pictures take more."
    if settings.trl.get("use_vllm"):
        share = float(settings.trl.get("vllm_gpu_memory_utilization", 0.3))
        words += f" vLLM beside it takes {share:.0%} of each GPU."
    return words
