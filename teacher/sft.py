"""Supervised fine-tuning of a teacher: RACT's second stage, the plain baseline, and warm starts.

In come folders of triplets and the prompts that their texts answer; out comes a folder that
transformers loads, beside checkpoints from which a stopped training goes on. RACT (RALI §3.3)
fine-tunes a teacher that reinforcement learning taught to score one data set on the rationales of
several, under the description prompt: what it sees is aligned over data sets, how it scores stays.
TRL trains; what is here is what it learns from and which parts of it learn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rali.config import check_numbers
from rali.errors import InputError, require
from rali.run_folder import RunFolder
from rali.triplets import read_triplets

from .answers import compose
from .models import load_teacher, opened, vision_tower
from .prompts import PROMPTS, Prompt, find_prompt
from .resume import claim, finished, go_on
from .tasks import rescale
from .watch import Watch, WatchConfig

PARTS = ("vision", "language", "all")


@dataclass
class SftSource:
    """Triplets to learn from, under one prompt.

    Attributes:
        triplets: a folder of them.
        prompt: which question their texts answer. Under "ract/description" that is the rationale
            alone; under a prompt for a score the rationale and the human score after it; under
            "direct/score" the score alone, which is the plain baseline.
    """

    triplets: str = ""
    prompt: str = "ract/description"


@dataclass
class SftConfig:
    """A supervised fine-tuning.

    Attributes:
        model: a folder or hub id; for RACT a teacher trained by reinforcement learning on the data
            set whose scores it shall give. "nano" is the packaged one.
        sources: what it learns from.
        parts: what learns: "all", or "vision" (the vision tower with its projector, the case of
            RALI's Table 5 that comes as far), or "language".
        seed: of the order. epochs: passes over all examples.
        batch_size: examples in a step on each process. micro_batch: of them at once.
        lr: peak rate of AdamW, half a cosine to 0 after warmup (a share of steps).
        weight_decay: AdamW's.
        min_pixels, max_pixels: of a picture, after the processor's resize; None keeps its own.
        dtype: of the weights. gradient_checkpointing: saves memory for time.
        save_every: steps between checkpoints. log_every: between logged lines.
        report_to: "tensorboard", "trackio", "wandb", …
        watch: what to look at on the way.
        trl: any other field of TRL's SFTConfig.
    """

    model: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    sources: list[SftSource] = field(default_factory=list)
    parts: str = "all"
    seed: int = 0
    epochs: float = 1.0
    batch_size: int = 32
    micro_batch: int = 4
    lr: float = 1e-5
    warmup: float = 0.03
    weight_decay: float = 0.0
    min_pixels: int | None = None
    max_pixels: int | None = None
    dtype: str = "bfloat16"
    gradient_checkpointing: bool = True
    save_every: int = 200
    log_every: int = 10
    report_to: list[str] = field(default_factory=list)
    watch: WatchConfig = field(default_factory=WatchConfig)
    trl: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_numbers("", self, warmup=0, weight_decay=0, positive=["epochs", "lr"])
        if self.parts not in PARTS:
            raise InputError(f"parts is {self.parts!r}; there are {', '.join(PARTS)}.")
        if self.batch_size % self.micro_batch:
            raise InputError(
                f"batch_size is {self.batch_size}, which micro_batch, {self.micro_batch}, does "
                "not divide."
            )


@dataclass(frozen=True)
class SftExample:
    """A prompt with its pictures, and the text that shall answer it."""

    images: tuple[Path, ...]
    prompt: Prompt
    completion: str


def sft_examples(config: SftConfig) -> list[SftExample]:
    """What the sources give to learn from; triplets that could not be parsed are left out.

    Raises:
        InputError: no sources, a folder without usable triplets, or a prompt that its texts cannot
            answer.
    """
    if not config.sources:
        raise InputError("there is nothing to learn from; give `sources:` with triplets each.")
    found = []
    for source in config.sources:
        prompt = find_prompt(source.prompt)
        if prompt.task not in ("score", "description"):
            raise InputError(
                f"triplets hold a rationale and a score, which do not answer {prompt.name!r}."
            )
        own = []
        for triplet in read_triplets(source.triplets):
            if not triplet.parse_ok or (prompt.task == "score" and triplet.score is None):
                continue
            score = None if prompt.task != "score" else rescale(triplet.score or 0.0, prompt)
            text = compose(prompt, reasoning=triplet.reasoning, score=score)
            own.append(SftExample((triplet.image,), prompt, text))
        if not own:
            raise InputError(f"{source.triplets} has no triplets that answer {prompt.name!r}.")
        found += own
    return found


def train_sft(
    config: SftConfig,
    output: str | Path,
    examples: Sequence[SftExample] | None = None,
    *,
    model: tuple[Any, Any] | None = None,
    callbacks: Sequence[Any] = (),
    report: Callable[[str, int, int, float | None], None] | None = None,
) -> Path:
    """Fine-tune a teacher; returns the folder `output/model`, which transformers loads.

    Started by `accelerate launch` it trains on all processes. A stopped call goes on from the last
    checkpoint in `output/checkpoints`.

    Args:
        examples: in place of the config's sources.
        model: a model and its processor, in place of the config's.
        callbacks: transformers' TrainerCallbacks.
        report: called with (stage, step, steps, loss).

    Raises:
        InputError: settings that cannot work, before a model is loaded.
    """
    require("trl", "teach")
    from trl import SFTTrainer

    output = Path(output)
    claim(config, output)
    if finished(output):
        return output / "model"
    own = list(examples) if examples is not None else sft_examples(config)
    teacher, processor = model or load_teacher(
        config.model,
        dtype=config.dtype,
        min_pixels=config.min_pixels,
        max_pixels=config.max_pixels,
    )
    seeing = vision_tower(teacher)
    if config.parts == "vision":
        teacher.requires_grad_(False)
        seeing.requires_grad_(True)
    elif config.parts == "language":
        seeing.requires_grad_(False)
    watch = Watch(
        config.watch,
        RunFolder(output),
        PROMPTS["visualquality-r1/score"],
        processor,
        max_new_tokens=512,
        stage="sft",
        report=report,
    )
    trainer = SFTTrainer(
        model=teacher,
        processing_class=processor,
        args=_trl_config(config, output / "checkpoints"),
        train_dataset=_dataset(own, config),
        callbacks=[watch, *callbacks],
    )
    watch.follow(trainer)
    go_on(trainer, output / "checkpoints")
    trainer.save_model(str(output / "model"))
    if trainer.is_world_process_zero():
        processor.save_pretrained(output / "model")
    return output / "model"


def _trl_config(config: SftConfig, output: Path) -> Any:
    from trl import SFTConfig as TrlConfig

    settings: dict[str, Any] = {
        "output_dir": str(output),
        "seed": config.seed,
        "num_train_epochs": 1,  # the order of examples holds all epochs
        "shuffle_dataset": False,
        "per_device_train_batch_size": config.micro_batch,
        "gradient_accumulation_steps": config.batch_size // config.micro_batch,
        "learning_rate": config.lr,
        "lr_scheduler_type": "cosine",
        "warmup_steps": config.warmup,
        "weight_decay": config.weight_decay,
        "completion_only_loss": True,
        "max_length": None,  # a cut would part pictures from their tokens
        "gradient_checkpointing": config.gradient_checkpointing,
        "bf16": config.dtype == "bfloat16",
        "use_cpu": not torch.cuda.is_available(),
        "save_steps": config.save_every,
        "save_total_limit": 2,
        "logging_steps": config.log_every,
        "report_to": config.report_to or "none",
        "remove_unused_columns": False,
        "disable_tqdm": True,
    }
    return TrlConfig(**(settings | config.trl))


def _dataset(examples: Sequence[SftExample], config: SftConfig) -> Any:
    """A data set for TRL in the order of all epochs; pictures are opened when they are drawn."""
    from datasets import Dataset

    draws = [
        np.random.default_rng((config.seed, epoch)).permutation(len(examples))
        for epoch in range(int(np.ceil(config.epochs)))
    ]
    order = np.concatenate(draws)[: max(1, round(config.epochs * len(examples)))]

    def rows(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        own = [examples[place] for place in batch["place"]]
        return {
            "prompt": [example.prompt.messages() for example in own],
            "completion": [
                [{"role": "assistant", "content": [{"type": "text", "text": example.completion}]}]
                for example in own
            ],
            "images": [[opened(path) for path in example.images] for example in own],
        }

    return Dataset.from_dict({"place": order.tolist()}).with_transform(rows)
