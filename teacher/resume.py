"""Going on with a stopped training: whose folder it is, and the last checkpoint that is whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rali.config import read_yaml, write_yaml
from rali.errors import InputError

from .models import load_teacher

FREE = ("report_to", "log_every", "save_every", "watch")  # may change without another outcome


def claim(config: Any, output: Path) -> None:
    """Note a training's settings in its folder; refuse a folder of another training.

    Raises:
        InputError: `output/config.yaml` has other settings; they are named.
    """
    file = output / "config.yaml"
    wanted = asdict(config)
    if file.is_file():
        known = read_yaml(file)
        other = [
            name
            for name in wanted
            if name not in FREE and name in known and known[name] != _plain(wanted[name])
        ]
        if other:
            raise InputError(
                f"{output} holds a training with other settings ({', '.join(other)}); give "
                "another folder, or the same settings to go on."
            )
    write_yaml(config, file)


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


def go_on(trainer: Any, folder: Path) -> None:
    """Train from the last checkpoint in `folder`, or from the start.

    A checkpoint names a Qwen2.5-VL's weights as Qwen does, not as the model in memory does, and
    transformers' trainer passes over names it does not know: it would go on with the weights of the
    start. So they are loaded here, the way a model is.
    """
    last = last_checkpoint(folder)
    whole = not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)  # those have their own
    if last and whole and not hasattr(trainer.model, "peft_config"):
        saved, _ = load_teacher(last)
        trainer.model.load_state_dict(saved.state_dict())
    trainer.train(resume_from_checkpoint=last)


def finished(output: Path) -> bool:
    """Whether `output/model` is whole: its tokenizer is written last."""
    return (output / "model" / "tokenizer_config.json").is_file()


def _plain(value: Any) -> Any:
    """As YAML gives it back: lists for tuples."""
    return json.loads(json.dumps(value, default=str))
