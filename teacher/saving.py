"""A training by TRL to its end, resumed where it was stopped, and its model as others load it.

In: a trainer of TRL's. Out: `OUTPUT/model`, beside `OUTPUT/checkpoints` from which a stopped
training resumes; a damaged checkpoint is passed over with a warning.
"""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from rali.errors import InputError
from rali.files import check_space, from_json, image_sha256, read_json
from rali.runs.folder import write_json

from .learned import Spelling, note_prompts
from .models import load_teacher
from .prompts import TaskName

SUMS = "sha256.json"  # of the other files of a checkpoint


def train_to(
    output: Path, trainer: Any, dtype: str, prompts: dict[TaskName, Spelling] | None = None
) -> Path:
    """Train from the last checkpoint, or from the start; returns the folder of the model.

    An adapter is saved in `output/adapter` and merged into `output/model`, which any engine loads.

    Args:
        dtype: type of the weights in `output/model`; they learn in float32.
        prompts: what `learned` returns, to be noted beside them.
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
        save_as(dtype, partial)
        trainer.processing_class.save_pretrained(partial)
        note_prompts(prompts or {}, partial)
        _tidy(partial)
        _tidy(output / "adapter")
        partial.rename(output / "model")
    trainer.accelerator.wait_for_everyone()
    return output / "model"


def save_as(dtype: str, folder: Path) -> None:
    """Rewrite a model's files in a type of this name, one by one, and note it in its config."""
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
