"""A low-rank adapter in place of all weights, and the 4-bit weights that it may stand beside."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from rali.errors import InputError, require
from rali.runs.config import check_numbers

# The weights of what looks at pictures, as transformers names it in the families that TRL trains.
VISION = (
    r"(?:.*\.)?(?:visual|vision_tower|vision_model|multi_modal_projector|connector|embed_vision)"
    r"(?:\.|$)"
)
QUANTIZATIONS = ("", "4bit")


@dataclass
class LoraConfig:
    """A low-rank adapter instead of training all weights.

    Attributes:
        rank: the adapter's rank; 0 trains all weights without one.
        alpha: the adapter's output is scaled by alpha / rank.
        dropout: the share of the adapter's input that is dropped, 0–1.
        targets: names of the layers that get an adapter; of those by default, the model has some.
    """

    rank: int = 0
    alpha: int = 128
    dropout: float = 0.05
    targets: list[str] = field(
        default_factory=lambda: [
            "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
        ]
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_numbers("lora.", self, rank=0, alpha=1, dropout=0)
        if self.dropout >= 1:
            raise InputError(f"lora.dropout is {self.dropout:g}; give less than 1.")
        if self.rank and not self.targets:
            raise InputError("lora.targets names no layer; name some, or set lora.rank=0.")


def check_targets(config: LoraConfig, model: str, layers: Collection[str], *, eyes: bool) -> None:
    """Refuse targets that name none of a model's layers, on which no adapter would learn.

    Args:
        layers: last parts of the names of the layers that may get an adapter; none for unknown. An
            empty name is a layer of an unknown name, which any target may mean.
        eyes: whether those of the vision tower are among them.

    Raises:
        InputError: it names the nearest layer that there is, or all.
    """
    if "lm_head" in config.targets:
        raise InputError("lora.targets: TRL trains no adapter on lm_head; leave it out.")
    names = {target: target.rpartition(".")[2] for target in config.targets}
    absent = [t for t, name in names.items() if name not in layers and "embed" not in name]
    usual = config.targets == LoraConfig().targets and len(absent) < len(names)
    if layers and "" not in layers and absent and not usual:
        near = get_close_matches(names[absent[0]], layers, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(layers))}."
        where = "" if eyes else " outside the vision tower, which does not learn"
        raise InputError(f"lora.targets: {model} has no layer {absent[0]}{where}; {hint}")


def lora_config(config: LoraConfig, *, vision: bool = True) -> Any:
    """peft's settings of an adapter, or None where all weights learn.

    Args:
        vision: whether the vision tower's layers of these names get an adapter too.
    """
    if not config.rank:
        return None
    from peft import LoraConfig as PeftConfig

    return PeftConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=config.targets,
        exclude_modules=None if vision else VISION + ".*",
        task_type="CAUSAL_LM",
    )


def check_quantization(quantization: str, rank: int) -> None:
    """Refuse a quantisation that no machine has; see `quantized` for what this machine has.

    Raises:
        InputError: no such quantisation, or no adapter to train beside it.
    """
    _check_name(quantization)
    if quantization and not rank:
        raise InputError(
            "quantization: weights of 4 bits cannot learn; train an adapter beside them with "
            "lora.rank=64, say."
        )


def _check_name(quantization: str) -> None:
    if quantization not in QUANTIZATIONS:
        raise InputError(f"quantization is {quantization!r}; give 4bit, or leave it out.")


def quantized(quantization: str) -> dict[str, Any]:
    """What transformers' from_pretrained takes to load weights in 4 bits; nothing for none.

    They go to this process's GPU, or where torch sees none, to the CPU, which is for trying it.

    Raises:
        InputError: there is no such quantisation.
        MissingExtraError: bitsandbytes is not installed.
    """
    _check_name(quantization)
    if not quantization:
        return {}
    torch = require("torch", "teach")
    require("bitsandbytes", "4bit")
    from transformers import BitsAndBytesConfig

    bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        bnb_4bit_quant_storage=torch.bfloat16,  # FSDP shards no bytes
    )
    gpu = int(os.environ.get("LOCAL_RANK", 0))
    place: dict[str, int | str] = {"": gpu if torch.cuda.is_available() else "cpu"}
    return {"quantization_config": bits, "device_map": place}
