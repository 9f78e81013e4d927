"""What every training of a teacher shares: settings for TRL, going on after a stop, saving.

In come a config and a trainer of TRL's; out comes `OUTPUT/model`, beside `OUTPUT/checkpoints` from
which a stopped training goes on. A folder belongs to one training: its settings and a mark of its
examples are noted in it, and another training is refused.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from rali.errors import InputError
from rali.files import replace_atomically
from rali.runs.config import check_numbers, read_yaml, write_yaml
from rali.runs.folder import fingerprint

from .models import load_teacher
from .watch import WatchConfig

FREE = ("report_to", "log_every", "save_every", "watch")  # may change without another outcome
EXAMPLES = "examples.json"


@dataclass
class TrainingConfig:
    """Settings of every training of a teacher.

    Attributes:
        model: a folder or hub id of a Qwen2.5-VL; "nano" is the packaged one.
        seed: of the order, the sampling and an adapter's weights.
        epochs: passes over all examples.
        micro_batch: texts that one process takes through the model at once.
        lr: peak rate of AdamW.
        min_pixels, max_pixels: of a picture, after the processor's resize; None keeps its own.
        dtype: of the weights. gradient_checkpointing: saves memory for time.
        save_every: steps between checkpoints. log_every: between logged lines.
        report_to: "tensorboard", "trackio", "wandb", …
        watch: what to look at on the way.
        trl: any other field of TRL's config (use_vllm, vllm_mode, deepspeed, …).
    """

    model: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    seed: int = 0
    epochs: float = 1.0
    micro_batch: int = 4
    lr: float = 1e-5
    min_pixels: int | None = None
    max_pixels: int | None = None
    dtype: str = "bfloat16"
    gradient_checkpointing: bool = True
    save_every: int = 100
    log_every: int = 1
    report_to: list[str] = field(default_factory=list)
    watch: WatchConfig = field(default_factory=WatchConfig)
    trl: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_numbers("", self, save_every=1, log_every=1, positive=["epochs", "lr"])
        if not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise InputError(f"dtype is {self.dtype!r}; give bfloat16, float16 or float32.")

    def steps(self, available: int) -> int:
        """Steps of a training whose examples give so many."""
        most = int(self.trl.get("max_steps", -1))
        return most if most > 0 else available

    def load(self) -> tuple[Any, Any]:
        """The model to train and its processor."""
        return load_teacher(
            self.model, dtype=self.dtype, min_pixels=self.min_pixels, max_pixels=self.max_pixels
        )

    def trl_settings(self, output: Path, **own: Any) -> dict[str, Any]:
        """Arguments of TRL's config: these, a trainer's `own`, and over both the user's `trl`."""
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


def claim(config: TrainingConfig, examples: Sequence[Any], output: Path) -> None:
    """Note a training's settings and examples in its folder; refuse a folder of another training.

    Args:
        examples: dataclasses, in the order in which they are drawn. Pictures count by name, so
            that a data folder may move.

    Raises:
        InputError: the folder holds other settings, which are named, or other examples.
    """
    from accelerate import PartialState

    known, wanted = output / "config.yaml", asdict(config)
    mark = {"count": len(examples), "fingerprint": fingerprint([_mark(e) for e in examples])}
    if known.is_file():
        before = read_yaml(known)
        other = [
            name
            for name, value in wanted.items()
            if name not in FREE and name in before and not _same(before[name], value)
        ]
        if other:
            raise InputError(
                f"{output} holds a training with other settings ({', '.join(other)}); give "
                "another folder, or the same settings to go on."
            )
    noted = output / EXAMPLES
    if noted.is_file() and json.loads(noted.read_text("utf-8")) != mark:
        raise InputError(
            f"{output} holds a training on other examples: its manifests or triplets have changed "
            "since. Give another folder."
        )
    if PartialState().is_main_process:
        write_yaml(config, known)
        replace_atomically(noted, lambda path: path.write_text(json.dumps(mark) + "\n", "utf-8"))


def check_pictures(examples: Sequence[Any]) -> None:
    """Raise an InputError where pictures are missing or empty, before hours of training end there.

    Args:
        examples: with `images`.
    """
    pictures = sorted({path for example in examples for path in example.images})
    bad = [path for path in pictures if not path.is_file() or not path.stat().st_size]
    if bad:
        raise InputError(
            f"{len(bad)} of {len(pictures)} pictures are missing or empty, such as {bad[0]}."
        )


def _mark(example: Any) -> dict[str, Any]:
    values = asdict(example)
    return values | {"images": [path.name for path in values["images"]]}


def _same(before: Any, value: Any) -> bool:
    """Whether a noted setting is the same: a setting that is newer than the note is.

    Where files lie does not matter: what is in them is in the examples' mark.
    """
    if isinstance(value, dict) and isinstance(before, dict):
        shared = (before.keys() & value.keys()) - {"manifests", "triplets"}
        return all(_same(before[key], value[key]) for key in shared)
    if isinstance(value, list | tuple) and isinstance(before, list):
        return len(before) == len(value) and all(map(_same, before, value))
    return bool(before == value)


def finished(output: Path) -> bool:
    """Whether there is `output/model`, which gets its name when it is whole."""
    return (output / "model").is_dir()


def train_to(output: Path, trainer: Any) -> Path:
    """Train from the last checkpoint, or from the start; returns the folder of the model.

    An adapter is kept in `output/adapter`, and merged into `output/model`, which any engine loads.
    """
    if not _sharded(trainer):
        # FSDP and DeepSpeed keep float32 copies of what learns; without them a step of 1e-6 is
        # rounded away in bfloat16.
        for weights in trainer.model.parameters():
            if weights.requires_grad:
                weights.data = weights.data.float()
    _go_on(trainer, output / "checkpoints")
    adapter, partial = hasattr(trainer.model, "peft_config"), output / "model.partial"
    trainer.save_model(str(output / "adapter" if adapter else partial))
    if trainer.is_world_process_zero():
        if adapter:
            _merge(trainer, output / "adapter", partial)
        trainer.processing_class.save_pretrained(partial)
        partial.rename(output / "model")
    trainer.accelerator.wait_for_everyone()
    return output / "model"


def _sharded(trainer: Any) -> bool:
    return bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint whose writing was not cut off, or None.

    transformers writes `trainer_state.json` last.
    """
    steps = {}
    for path in folder.glob("checkpoint-*"):
        try:
            steps[json.loads((path / "trainer_state.json").read_text())["global_step"]] = path
        except (OSError, ValueError, KeyError):
            continue
    return str(steps[max(steps)]) if steps else None


def _go_on(trainer: Any, folder: Path) -> None:
    """Train from the last checkpoint in `folder`, or from the start.

    A checkpoint names a Qwen2.5-VL's weights as Qwen does, not as the model in memory does, and
    transformers' trainer passes over names it does not know: it would go on with the weights of the
    start. So they are loaded here, the way a model is.
    """
    last = last_checkpoint(folder)
    if last and not _sharded(trainer) and not hasattr(trainer.model, "peft_config"):
        saved, _ = load_teacher(last, dtype="float32")  # a config may say less
        trainer.model.load_state_dict(saved.state_dict())
        logging.getLogger("transformers.trainer").addFilter(_not_about_names)
    with warnings.catch_warnings():  # of names between TRL and transformers, once a step
        warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated")
        trainer.train(resume_from_checkpoint=last)


def _not_about_names(record: logging.LogRecord) -> bool:
    return "keys in the checkpoint" not in record.getMessage()


def _merge(trainer: Any, adapter: Path, output: Path) -> None:
    from peft import PeftModel

    # In float32: half precision would round away what a small rate has learned.
    place = trainer.model.peft_config["default"].base_model_name_or_path
    base, _ = load_teacher(place, dtype="float32")
    PeftModel.from_pretrained(base, str(adapter)).merge_and_unload().save_pretrained(output)
