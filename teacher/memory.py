"""How much GPU memory a training takes, from the shapes of the model's weights alone.

In: settings and a batch plan. Out: a sentence. Neither torch nor transformers is imported, so that
a dry run takes seconds.
"""

from __future__ import annotations

from .grpo import GrpoConfig
from .plan import BatchPlan, MemoryEstimate, estimate_memory
from .sft import SftConfig
from .shapes import TEXT_TOKENS, VISUAL_TOKENS, Shape, model_shape


def learning_weights(settings: GrpoConfig | SftConfig, shape: Shape) -> int:
    """How many weights a training changes, or its adapter has."""
    if rank := settings.lora.rank:
        wanted = {target.rpartition(".")[2] for target in settings.lora.targets}
        return sum(
            rank * (inputs + outputs) * count
            for name, inputs, outputs, count in shape.linear
            if name.rpartition(".")[2] in wanted
            and (settings.eyes_learn or not name.startswith("visual."))
        )
    if getattr(settings, "parts", "all") == "vision":
        return shape.vision
    return shape.parameters - (0 if settings.eyes_learn else shape.vision)


def visual_tokens(settings: GrpoConfig | SftConfig, shape: Shape) -> int:
    """The most visual tokens of a picture; a usual number where `max_pixels` is not set."""
    return settings.max_pixels // shape.token**2 if settings.max_pixels else VISUAL_TOKENS


def memory_of(
    settings: GrpoConfig | SftConfig, shape: Shape, plan: BatchPlan | None = None, shards: int = 1
) -> MemoryEstimate:
    """GiB on one GPU; several processes share weights and optimiser, as with FSDP and ZeRO-3.

    Args:
        plan: of a `GrpoConfig`. shards: number of processes of an `SftConfig`.
    """
    visual = visual_tokens(settings, shape)
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
    return estimate_memory(
        shape,
        shape.parameters,
        **shared,
        micro_batch=plan.micro_batch,
        rollouts=0 if settings.trl.get("use_vllm") else plan.local,
        prompt_tokens=TEXT_TOKENS + visual * max(len(prompt.images) for prompt in settings.asked),
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
    share = settings.trl.get("vllm_gpu_memory_utilization", 0.3)
    if settings.trl.get("use_vllm") and isinstance(share, int | float):  # `check_trl` tells of text
        words += f" vLLM beside it takes {share:.0%} of each GPU."
    return words


def describe_length(settings: GrpoConfig) -> str:
    """What vLLM cannot take of the longest prompt and its text, in words; empty for nothing."""
    shape = model_shape(settings.model, settings.revision)
    length = settings.trl.get("vllm_max_model_length")
    if shape is None or not settings.trl.get("use_vllm"):
        return ""
    if not (length and isinstance(length, int)):
        return ""  # of a length that is text, `check_trl` tells
    images = max(len(prompt.images) for prompt in settings.asked)
    most = TEXT_TOKENS + images * visual_tokens(settings, shape) + settings.max_completion_length
    if length >= most:
        return ""
    return (
        f"A prompt and its text take up to about {most:,} tokens, and trl.vllm_max_model_length is "
        f"{length:,}: vLLM refuses a longer prompt, and cuts a longer text off."
    )
