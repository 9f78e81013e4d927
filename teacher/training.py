"""What every training of a teacher shares: settings for TRL, resuming after a stop, saving.

In: a config and a trainer of TRL's. Out: `OUTPUT/model`, beside `OUTPUT/checkpoints` from which a
stopped training resumes.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rali.errors import InputError
from rali.files import check_space, from_json, read_json
from rali.runs.config import check_numbers

from .adapter import LoraConfig, check_quantization
from .models import load_teacher
from .watch_config import WatchConfig

DTYPES = ("bfloat16", "float16", "float32")
# Fields of TRL's config that have a setting here: two values of one thing would contradict.
OURS = {
    "seed": "seed", "learning_rate": "lr", "per_device_train_batch_size": "micro_batch",
    "gradient_checkpointing": "gradient_checkpointing", "bf16": "dtype", "fp16": "dtype",
    "save_steps": "save_every", "logging_steps": "log_every", "report_to": "report_to",
    "output_dir": "-o", "num_train_epochs": "epochs", "shuffle_dataset": "data_seed",
    "beta": "beta", "num_generations": "num_generations", "temperature": "temperature",
    "top_k": "top_k", "top_p": "top_p", "max_completion_length": "max_completion_length",
    "gradient_accumulation_steps": "prompts_per_step or batch_size and micro_batch",
    "generation_batch_size": "prompts_per_step", "warmup_steps": "warmup",
}  # fmt: skip
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
            with bitsandbytes on a CUDA GPU; empty does not.
        lora: a low-rank adapter instead of all weights.
        gpus: number of GPUs that `--dry-run` counts with; a training takes accelerate launch's.
        gradient_checkpointing: whether to save memory at the cost of time.
        save_every: steps between checkpoints.
        log_every: steps between logged rows.
        report_to: where TRL also logs: "tensorboard", "trackio", "wandb", …
        watch: validation and probe pictures during the training.
        trl: any other field of TRL's config (max_steps, deepspeed, …).
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
        check_numbers("", self, save_every=1, log_every=1, gpus=1, positive=["epochs", "lr"])
        # YAML reads 3e-4 as a text.
        self.trl = {
            name: float(value) if isinstance(value, str) and EXPONENT.fullmatch(value) else value
            for name, value in self.trl.items()
        }
        if self.dtype not in DTYPES:
            raise InputError(f"dtype is {self.dtype!r}; give bfloat16, float16 or float32.")
        check_quantization(self.quantization, self.lora.rank)
        if (self.min_pixels or 0) > (self.max_pixels or float("inf")):
            raise InputError(
                f"min_pixels is {self.min_pixels:,} and max_pixels {self.max_pixels:,}; min_pixels "
                "must not be above max_pixels."
            )
        for name, own in OURS.items():
            if name in self.trl and (
                own == "-o" or any(hasattr(self, each) for each in own.split())
            ):
                raise InputError(f"trl.{name}: set {own}, which would contradict it.")

    def steps(self, available: int) -> int:
        """Steps of a training whose examples are enough for `available` steps."""
        most = int(self.trl.get("max_steps", -1))
        return most if most > 0 else available * int(self.trl.get("num_iterations", 1))

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


def finished(output: Path) -> bool:
    """Whether there is `output/model`, which gets this name when it is complete."""
    return (output / "model").is_dir()


def train_to(output: Path, trainer: Any, dtype: str) -> Path:
    """Train from the last checkpoint, or from the start; returns the folder of the model.

    An adapter is saved in `output/adapter` and merged into `output/model`, which any engine loads.

    Args:
        dtype: type of the weights in `output/model`; they learn in float32.
    """
    if not _sharded(trainer):
        # FSDP and DeepSpeed keep float32 copies of what learns; without them bfloat16 would
        # round a step of 1e-6 to nothing.
        for weights in trainer.model.parameters():
            if weights.requires_grad:
                weights.data = weights.data.float()
    _resume(trainer, output / "checkpoints")
    adapter, partial = hasattr(trainer.model, "peft_config"), output / "model.partial"
    trainer.save_model(str(output / "adapter" if adapter else partial))
    if trainer.is_world_process_zero():
        if adapter:
            _merge(trainer, output / "adapter", partial)
        save_as(dtype, partial)
        trainer.processing_class.save_pretrained(partial)
        _tidy(partial)
        _tidy(output / "adapter")
        partial.rename(output / "model")
    trainer.accelerator.wait_for_everyone()
    return output / "model"


def save_as(dtype: str, folder: Path) -> None:
    """Rewrite a model's files in a type of this name, one by one, and note it in its config."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    kind = getattr(torch, dtype)
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            weights, note = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
        for name, values in weights.items():
            if values.is_floating_point():
                weights[name] = values.to(kind)
        save_file(weights, path, note)
    place = folder / "config.json"
    config = read_json(place, "Train it again.")
    for part in (config, *(part for part in config.values() if isinstance(part, dict))):
        if "dtype" in part:
            part["dtype"] = dtype
    place.write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _tidy(folder: Path) -> None:
    """Remove the trainer's pickle from a folder to be handed on, and let others read the weights.

    `training_args.bin` is of no use to whoever loads the model; safetensors' files are the user's
    alone.
    """
    (folder / "training_args.bin").unlink(missing_ok=True)
    for file in folder.glob("*.safetensors"):
        like = next(folder.glob("*.json"), file)
        file.chmod(like.stat().st_mode)


def _sharded(trainer: Any) -> bool:
    return bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end, or None.

    transformers writes `trainer_state.json` last.
    """
    steps = {}
    for path in folder.glob("checkpoint-*"):
        try:
            state = from_json((path / "trainer_state.json").read_text("utf-8"))
            steps[state["global_step"]] = path
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return str(steps[max(steps)]) if steps else None


def _resume(trainer: Any, folder: Path) -> None:
    """Train from the last checkpoint in `folder`, or from the start.

    A checkpoint names a Qwen2.5-VL's weights as Qwen does, not as the model in memory does, and
    transformers' trainer skips names that it does not know: it would resume with the weights of the
    start. So they are loaded here in the way a model is loaded.
    """
    last = last_checkpoint(folder)
    if last and not _sharded(trainer) and not hasattr(trainer.model, "peft_config"):
        saved, _ = load_teacher(last, dtype="float32")  # its config may name a smaller type
        trainer.model.load_state_dict(saved.state_dict())
        logging.getLogger("transformers.trainer").addFilter(_not_about_names)
    with warnings.catch_warnings():  # TRL uses a deprecated name in every step
        warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated")
        try:
            trainer.train(resume_from_checkpoint=last)
        except RuntimeError:
            check_space(folder.parent)  # torch does not say that a checkpoint found none
            raise


def _not_about_names(record: logging.LogRecord) -> bool:
    return "keys in the checkpoint" not in record.getMessage()


def _merge(trainer: Any, adapter: Path, output: Path) -> None:
    from peft import PeftModel

    # In float32, as half precision would round what a small rate has learned to nothing.
    place = trainer.model.peft_config["default"].base_model_name_or_path
    base, _ = load_teacher(place, dtype="float32")
    PeftModel.from_pretrained(base, str(adapter)).merge_and_unload().save_pretrained(output)
