"""The settings that every training of a teacher shares, and what TRL is given of them.

Neither torch nor TRL is imported before a model is loaded, so that a dry run is quick.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rali.errors import InputError
from rali.runs.config import check_numbers, check_seed, check_type

from .adapter import LoraConfig, check_quantization
from .models import load_teacher
from .watch_config import WatchConfig

DTYPES = ("bfloat16", "float16", "float32")
EXPONENT = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?[eE][+-]?[0-9]+")


@dataclass
class TrainingConfig:
    """Settings of every training of a teacher.

    Attributes:
        model: "nano", a teacher's folder or a Hub id: a Qwen2.5-VL, a Qwen3-VL, or another that
            transformers loads and TRL trains.
        revision: a branch, tag or commit of the model on the Hub; empty takes the newest.
        attn_implementation: how transformers computes attention ("sdpa", "flash_attention_2", …);
            empty leaves it to transformers.
        seed: seed of the order, the sampling and an adapter's first weights.
        epochs: passes over all examples.
        micro_batch: texts in one forward pass of a process.
        lr: peak learning rate of AdamW.
        min_pixels, max_pixels: bounds on a picture's pixels after the processor's resize; None
            keeps the processor's own.
        dtype: type of the weights: "bfloat16", "float16" or "float32". The teacher is saved in it,
            the checkpoints in float32, in which the weights learn.
        quantization: "4bit" holds the weights in 4 bits beside a learning adapter (`lora.rank`),
            with bitsandbytes on a CUDA GPU, or slowly on a CPU; empty does not.
        lora: a low-rank adapter instead of all weights.
        gpus: number of GPUs that `--dry-run` counts with; a training takes accelerate launch's.
        gradient_checkpointing: whether to save memory at the cost of time.
        save_every: steps between checkpoints.
        log_every: steps between logged rows.
        report_to: where TRL also logs: "tensorboard", "trackio", "wandb", …
        watch: validation and probe pictures during the training.
        trl: any other field of TRL's config (max_steps, deepspeed, …); see `trl_settings`.
    """

    model: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    revision: str = ""
    attn_implementation: str = ""
    seed: int = 0
    epochs: float = 1.0
    micro_batch: int = 4
    lr: float = 1e-5
    min_pixels: int | None = None
    max_pixels: int | None = None
    dtype: str = "bfloat16"
    quantization: str = ""
    lora: LoraConfig = field(default_factory=LoraConfig)
    gpus: int = 1
    gradient_checkpointing: bool = True
    save_every: int = 100
    log_every: int = 1
    report_to: list[str] = field(default_factory=list)
    watch: WatchConfig = field(default_factory=WatchConfig)
    trl: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_numbers(
            "", self, micro_batch=1, save_every=1, log_every=1, gpus=1, positive=["epochs", "lr"]
        )
        check_seed("seed", self.seed)
        for bound in ("min_pixels", "max_pixels"):
            if getattr(self, bound) is not None:
                check_numbers("", self, positive=[bound])
        self.trl = {name: _meant(name, value) for name, value in self.trl.items()}
        for name in ("max_steps", "num_iterations"):  # with which the steps are counted
            check_type(f"trl.{name}", self.trl.get(name, 1), [int])
        if self.iterations < 1:
            raise InputError(f"trl.num_iterations is {self.iterations}; give 1 or more.")
        if self.dtype not in DTYPES:
            raise InputError(f"dtype is {self.dtype!r}; give bfloat16, float16 or float32.")
        check_quantization(self.quantization, self.lora.rank)
        if (self.min_pixels or 0) > (self.max_pixels or float("inf")):
            raise InputError(
                f"min_pixels is {self.min_pixels:,} and max_pixels {self.max_pixels:,}; min_pixels "
                "must not be above max_pixels."
            )

    @property
    def eyes_learn(self) -> bool:
        """Whether the vision tower learns, or gets an adapter."""
        return bool(getattr(self, "vision", True)) and getattr(self, "parts", "") != "language"

    @property
    def iterations(self) -> int:
        """How many steps are taken with the same texts."""
        return self.trl.get("num_iterations", 1)

    def steps(self, available: int) -> int:
        """Steps of a training whose examples are enough for `available` steps."""
        most = self.trl.get("max_steps", -1)
        return most if most > 0 else available * self.iterations

    def load(self) -> tuple[Any, Any]:
        """The model to train and its processor."""
        return load_teacher(
            self.model,
            dtype=self.dtype,
            min_pixels=self.min_pixels,
            max_pixels=self.max_pixels,
            revision=self.revision,
            attn_implementation=self.attn_implementation,
            quantization=self.quantization,
        )

    def trl_settings(self, output: Path, **own: Any) -> dict[str, Any]:
        """Arguments of TRL's config; a trainer's `own` and then the user's `trl` override them."""
        import torch

        shared = {
            "output_dir": str(output / "checkpoints"),
            "seed": self.seed,
            "num_train_epochs": 1,  # the order of examples holds all epochs
            "shuffle_dataset": False,
            "per_device_train_batch_size": self.micro_batch,
            "learning_rate": self.lr,
            "gradient_checkpointing": self.gradient_checkpointing,
            "bf16": self.dtype == "bfloat16",
            "use_cpu": not torch.cuda.is_available(),
            "save_steps": self.save_every,
            "save_total_limit": 2,
            "logging_steps": self.log_every,
            "report_to": self.report_to or "none",
            "remove_unused_columns": False,
            "disable_tqdm": True,
        }
        return shared | own | self.trl


def _meant(name: str, value: Any) -> Any:
    """What a value under `trl` says: YAML reads 3e-4 as a text, and no as false."""
    if isinstance(value, str) and EXPONENT.fullmatch(value):
        return float(value)
    return "no" if value is False and name.endswith("_strategy") else value
