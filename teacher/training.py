"""What every training of a teacher shares: settings for TRL, resuming after a stop, saving.

In: a config and a trainer of TRL's. Out: `OUTPUT/model`, beside `OUTPUT/checkpoints` from which a
stopped training resumes. A folder belongs to one training: its settings and a fingerprint of its
examples are noted in it, and another training is refused.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from rali.errors import InputError
from rali.files import check_space, from_json, image_sha256
from rali.runs.config import check_numbers
from rali.runs.folder import claim, fingerprint, write_json

from .models import load_teacher
from .watch import WatchConfig

FREE = ("report_to", "log_every", "save_every", "watch")  # settings that do not change the outcome
EXAMPLES = "examples.json"
SUMS = "sha256.json"  # of the other files of a checkpoint


@dataclass
class TrainingConfig:
    """Settings of every training of a teacher.

    Attributes:
        model: "nano", a teacher's folder or a Hub id (a Qwen2.5-VL).
        seed: seed of the order, the sampling and an adapter's first weights.
        epochs: passes over all examples.
        micro_batch: texts in one forward pass of a process.
        lr: peak learning rate of AdamW.
        min_pixels, max_pixels: bounds on a picture's pixels after the processor's resize; None
            keeps the processor's own.
        dtype: type of the weights: "bfloat16", "float16" or "float32".
        gradient_checkpointing: whether to save memory at the cost of time.
        save_every: steps between checkpoints.
        log_every: steps between logged rows.
        report_to: where TRL also logs: "tensorboard", "trackio", "wandb", …
        watch: validation and probe pictures during the training.
        trl: any other field of TRL's config (max_steps, deepspeed, …).
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
        """Steps of a training whose examples are enough for `available` steps."""
        most = int(self.trl.get("max_steps", -1))
        return most if most > 0 else available

    def check_trl(self, kind: Any) -> None:
        """Refuse a name in `trl` that TRL's config of this kind does not have.

        Raises:
            InputError: it names the nearest that there is.
        """
        known = [each.name for each in fields(kind)]
        for name in self.trl:
            if name not in known:
                near = get_close_matches(name, known, 1)
                hint = f"; did you mean {near[0]}?" if near else "."
                raise InputError(f"trl.{name}: {kind.__name__} of TRL has no such field{hint}")

    def load(self) -> tuple[Any, Any]:
        """The model to train and its processor."""
        return load_teacher(
            self.model, dtype=self.dtype, min_pixels=self.min_pixels, max_pixels=self.max_pixels
        )

    def trl_settings(self, output: Path, **own: Any) -> dict[str, Any]:
        """Arguments of TRL's config; a trainer's `own` and then the user's `trl` override them."""
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


def claim_run(config: TrainingConfig, examples: Sequence[Any], output: Path) -> None:
    """Note a training's settings and examples in its folder; refuse a folder of another training.

    Args:
        examples: dataclasses, in the order in which they are drawn. Pictures count by name, so
            that a data folder may move.

    Raises:
        InputError: the folder holds other settings, which are named, or other examples.
    """
    main = PartialState().is_main_process
    settings = partial(
        claim,
        output / "config.yaml",
        asdict(config),
        lambda other: (
            f"{output} holds a training with other settings ({', '.join(other)}); give another "
            "folder, or the same settings to resume it."
        ),
        same=_same,
        free=FREE,
    )
    settings(write=False)  # a folder of other examples stays as it is
    claim(
        output / EXAMPLES,
        {"count": len(examples), "fingerprint": fingerprint([_mark(e) for e in examples])},
        lambda _: (
            f"{output} holds a training on other examples: its manifests or triplets have changed "
            "since. Give another folder."
        ),
        write=main,
    )
    settings(write=main)


def check_pictures(examples: Sequence[Any]) -> None:
    """Raise an InputError if pictures are missing or empty, before hours of training are lost.

    Args:
        examples: objects with `images`.
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
    """Whether a noted setting agrees with a new one; fields that only one of them has do not count.

    Nor do paths of manifests and triplets: the examples' fingerprint depends on their contents.
    """
    if isinstance(value, dict) and isinstance(before, dict):
        shared = (before.keys() & value.keys()) - {"manifests", "triplets"}
        return all(_same(before[key], value[key]) for key in shared)
    if isinstance(value, list | tuple) and isinstance(before, list):
        return len(before) == len(value) and all(map(_same, before, value))
    return bool(before == value)


def finished(output: Path) -> bool:
    """Whether there is `output/model`, which gets this name when it is complete."""
    return (output / "model").is_dir()


def train_to(output: Path, trainer: Any) -> Path:
    """Train from the last checkpoint, or from the start; returns the folder of the model.

    An adapter is saved in `output/adapter` and merged into `output/model`, which any engine loads.
    """
    if not _sharded(trainer):
        # FSDP and DeepSpeed keep float32 copies of what learns; without them bfloat16 would
        # round a step of 1e-6 to nothing.
        for weights in trainer.model.parameters():
            if weights.requires_grad:
                weights.data = weights.data.float()
    trainer.add_callback(Sums())
    _resume(trainer, output / "checkpoints")
    adapter, partial = hasattr(trainer.model, "peft_config"), output / "model.partial"
    if trainer.is_world_process_zero():
        shutil.rmtree(partial, ignore_errors=True)  # what a kill left would be in the model
    trainer.accelerator.wait_for_everyone()
    trainer.save_model(str(output / "adapter" if adapter else partial))
    if trainer.is_world_process_zero():
        if adapter:
            _merge(trainer, output / "adapter", partial)
        trainer.processing_class.save_pretrained(partial)
        _tidy(partial)
        _tidy(output / "adapter")
        partial.rename(output / "model")
    trainer.accelerator.wait_for_everyone()
    return output / "model"


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


class Sums(TrainerCallback):
    """Notes the SHA-256 of each file of a checkpoint, which transformers reads unchecked."""

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        PartialState().wait_for_everyone()  # each process has files of its own
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
        sums = {path.relative_to(folder).as_posix(): image_sha256(path) for path in files}
        write_json(sums, folder / SUMS)


def _damaged(folder: Path) -> str | None:
    """The name of a file of a checkpoint that is not as it was written, if there is one."""
    if not (folder / SUMS).is_file():  # a kill came before
        return None
    try:
        sums = from_json((folder / SUMS).read_bytes())
        return next((n for n, sum in sums.items() if image_sha256(folder / n) != sum), None)
    except (InputError, AttributeError, OSError, ValueError):
        return SUMS


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end and is not damaged, or None.

    transformers writes `trainer_state.json` last. What is damaged is told in a warning.
    """
    steps = {}
    for path in folder.glob("checkpoint-*"):
        try:
            state = from_json((path / "trainer_state.json").read_text("utf-8"))
            steps[state["global_step"]] = path
        except (OSError, ValueError, LookupError, TypeError):
            continue
    for _, path in sorted(steps.items(), reverse=True):
        if (name := _damaged(path)) is None:
            return str(path)
        warnings.warn(
            f"{path / name} is damaged; the training resumes from an earlier checkpoint, or from "
            "the start.",
            stacklevel=1,
        )
    return None


def _resume(trainer: Any, folder: Path) -> None:
    """Train from the last checkpoint in `folder`, or from the start.

    A checkpoint names a Qwen2.5-VL's weights as Qwen does, not as the model in memory does, and
    transformers' trainer skips names that it does not know: it would resume with the weights of the
    start. So they are loaded here in the way a model is loaded.
    """
    chosen = [last_checkpoint(folder) if PartialState().is_main_process else None]
    last = broadcast_object_list(chosen)[0]
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
