"""Supervised fine-tuning of a teacher: RACT's third stage, the plain baseline, and warm starts.

In: folders of triplets and the prompts that their texts answer. Out: a folder that transformers
loads, beside checkpoints from which a stopped training resumes. RACT (RALI §3.3) takes a teacher
that reinforcement learning taught to score one data set, and fine-tunes it on the rationales of
several under the description prompt: what it sees is aligned over data sets, how it scores stays.
TRL trains; this module says on which texts, and which parts of the model learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rali.data.triplets import read_triplets
from rali.errors import InputError
from rali.runs.config import check_numbers
from rali.runs.folder import RunFolder
from rali.runs.progress import Progress, silent

from .adapter import lora_config
from .answers import Score
from .checks import Start, start_of
from .claims import claim_run, finished
from .completions import beside, compose
from .learned import learned
from .models import opened, thought_opening, vision_weights
from .prompts import Prompt
from .questions import find_prompt, spelt_out
from .tasks import TASKS, rescale
from .training import TrainingConfig

PARTS = ("vision", "language", "all")


@dataclass
class SftSource:
    """Triplets to learn from, under one prompt.

    Attributes:
        triplets: a folder of triplets.
        prompt: the question that is answered: under "ract/description" by the rationale alone,
            under a prompt for a score by the rationale and then the human score, under
            "direct/score" by the score alone, which is the plain baseline. Or a question of your
            own, as settings or a YAML file; see `questions.Question`.
    """

    triplets: str = ""
    prompt: str | dict[str, Any] = "ract/description"

    def __post_init__(self) -> None:
        self.prompt = spelt_out(self.prompt)
        find_prompt(self.prompt)


@dataclass
class SftConfig(TrainingConfig):
    """A supervised fine-tuning; for RACT `model` is a teacher that was trained on one data set.

    Attributes:
        sources: triplets to learn from.
        parts: "all", or only "language", or only "vision" (the vision tower with its projector,
            which does as well in RALI's Table 5).
        batch_size: examples in a step on each process.
        warmup: share of the steps in which the rate rises; then it falls along half a cosine to 0.
        weight_decay: AdamW's weight decay.
    """

    sources: list[SftSource] = field(default_factory=list)
    parts: str = "all"
    batch_size: int = 32
    warmup: float = 0.03
    weight_decay: float = 0.0
    save_every: int = 200
    log_every: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers("", self, warmup=0, weight_decay=0)
        if self.parts not in PARTS:
            raise InputError(f"parts is {self.parts!r}; there are {', '.join(PARTS)}.")
        if self.batch_size % self.micro_batch:
            raise InputError(
                f"batch_size is {self.batch_size}; give a multiple of micro_batch, "
                f"{self.micro_batch}."
            )
        if self.parts == "vision" and self.lora.rank:
            raise InputError("parts: vision trains the whole tower; leave lora.rank at 0.")


@dataclass(frozen=True)
class SftExample:
    """A prompt with its pictures, and the text that should answer it."""

    images: tuple[Path, ...]
    prompt: Prompt
    completion: str


def sft_examples(config: SftConfig) -> list[SftExample]:
    """The examples of all sources; triplets that could not be parsed are left out.

    Raises:
        InputError: no sources, a folder without usable triplets, or a prompt that triplets cannot
            answer.
    """
    if not config.sources:
        raise InputError("There is nothing to learn from; give `sources:` with triplets each.")
    return [example for source in config.sources for example in source_examples(source)]


def source_examples(source: SftSource) -> list[SftExample]:
    """The examples of one source; see `sft_examples`."""
    prompt = find_prompt(source.prompt)
    task = TASKS[prompt.task]
    if not task.as_triplets:
        raise InputError(
            f"Triplets hold a rationale and a score, which do not answer {prompt.name!r}."
        )
    found, scored = [], task.answer is Score
    for triplet in read_triplets(source.triplets):
        if not triplet.parse_ok or (scored and triplet.score is None):
            continue
        score = rescale(triplet.score or 0.0, prompt) if scored else None
        text = compose(prompt, reasoning=triplet.reasoning, score=score)
        found.append(SftExample((triplet.image,), prompt, text))
    if not found:
        raise InputError(f"{source.triplets} has no triplets that answer {prompt.name!r}.")
    return found


def sft_start(
    config: SftConfig, examples: Sequence[SftExample] | None = None, *, done: bool = False
) -> Start[SftExample]:
    """What `train_sft` starts with, and what would stop it; see `checks`."""
    return start_of(
        config,
        "SFTConfig",
        [
            (source.triplets, partial(source_examples, source))
            for source in (config.sources if examples is None else ())
        ],
        lambda _: sft_examples(config) if examples is None else examples,
        done=done,
    )


def train_sft(
    config: SftConfig,
    output: str | Path,
    examples: Sequence[SftExample] | None = None,
    *,
    model: tuple[Any, Any] | None = None,
    progress: Progress = silent,
) -> Path:
    """Fine-tune a teacher; returns the folder `output/model`, which transformers loads.

    Under `accelerate launch` it trains on all processes. A stopped call resumes from the last
    checkpoint in `output/checkpoints`.

    Args:
        examples: what to learn from instead of the config's sources.
        model: a model and its processor instead of the config's.

    Raises:
        InputError: settings that cannot work, before a model is loaded, or a folder of another
            training.
    """
    output = Path(output)
    start = sft_start(config, examples, done=finished(output))
    start.check()
    own = start.examples
    claim_run(config, own, output)
    if finished(output):
        return output / "model"
    from trl import SFTConfig as TrlConfig
    from trl import SFTTrainer

    from .saving import train_to
    from .watch import Watch

    teacher, processor = model or config.load()
    if config.parts != "all":
        learns = config.parts == "vision"
        teacher.requires_grad_(not learns)
        for weights in vision_weights(teacher):
            weights.requires_grad_(learns)
    watch = Watch(
        config.watch,
        start.validation,
        RunFolder(output),
        config.watch.scoring(example.prompt for example in own),
        processor,
        max_new_tokens=512,
        stage="sft",
        progress=progress,
    )
    settings = config.trl_settings(
        output,
        gradient_accumulation_steps=config.batch_size // config.micro_batch,
        lr_scheduler_type="cosine",
        warmup_steps=config.warmup,
        weight_decay=config.weight_decay,
        train_sampling_strategy="sequential",
        completion_only_loss=True,
        max_length=None,  # a cut could separate pictures from their tokens
    )
    trainer = SFTTrainer(
        model=teacher,
        processing_class=processor,
        args=TrlConfig(**settings),
        train_dataset=_dataset(own, config, thought_opening(processor)),
        peft_config=lora_config(config.lora, vision=config.parts == "all"),
        callbacks=[watch],
    )
    watch.follow(trainer)
    asked = learned(config.model, (example.prompt for example in own))
    return train_to(output, trainer, config.dtype, asked)


def _dataset(examples: Sequence[SftExample], config: SftConfig, opening: str) -> Any:
    """A data set for TRL in the order of all epochs; pictures are opened when a row is read."""
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
                [{"role": "assistant", "content": [{"type": "text", "text": text}]}]
                for text in (beside(opening, e.completion, e.prompt) for e in own)
            ],
            "images": [[opened(path) for path in example.images] for example in own],
        }

    return Dataset.from_dict({"place": order.tolist()}).with_transform(rows)
