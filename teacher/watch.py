"""Watching a teacher while it trains: its validation scores, and its texts about some pictures.

A callback for TRL's trainers. It writes rows to the run's metrics.jsonl and texts to probes.jsonl,
and warns once of each thing that goes wrong (see `advice`). It draws nothing from the training's
random numbers, so that a training takes the same steps whether it is watched or not.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PrinterCallback, TrainerCallback

from rali.data.manifest import Row, read_manifest
from rali.errors import InputError
from rali.runs.config import check_numbers
from rali.runs.folder import RunFolder, add_row
from rali.runs.progress import Progress, silent

from .advice import advice
from .answers import Score
from .ask import agreement, ask, score
from .engines import Request, Sampling, TransformersEngine
from .examples import of_split
from .prompts import PROMPTS, Prompt, find_prompt
from .tasks import TASKS

PROBES = "probes.jsonl"


@dataclass
class WatchConfig:
    """Validation and probe pictures during a training.

    Attributes:
        every: steps between two looks; there is also one before the first step and one after the
            last, and with 0 only these.
        manifests: manifests of pictures to validate on.
        split: the split of these manifests.
        pictures: at most this many pictures of each manifest, drawn once.
        samples: texts per picture; the mean of their scores counts.
        temperature: sampling temperature of these texts.
        probes: pictures whose rationale is saved at each look (VisualQuality-R1, Fig. 4).
        prompt: the prompt for a score; empty takes the training's own, or VisualQuality-R1's.
        batch_size: texts generated side by side.
    """

    every: int = 50
    manifests: list[str] = field(default_factory=list)
    split: str = "val"
    pictures: int = 200
    samples: int = 5
    temperature: float = 1.0
    probes: list[str] = field(default_factory=list)
    prompt: str = ""
    batch_size: int = 32

    def __post_init__(self) -> None:
        check_numbers("watch.", self, every=0, pictures=2, samples=1, temperature=0, batch_size=1)

    def scoring(self, prompts: Iterable[Prompt]) -> Prompt:
        """The prompt to score with, given the training's prompts."""
        if self.prompt:
            return find_prompt(self.prompt)
        own = (prompt for prompt in prompts if TASKS[prompt.task].answer is Score)
        return next(own, PROMPTS["visualquality-r1/score"])

    def rows(self, trained: Iterable[Path] = ()) -> list[Row]:
        """The pictures to validate on, the same at every look.

        Args:
            trained: pictures that are trained on.

        Raises:
            InputError: a manifest has no labelled picture in the split, or one that is trained on;
                or a probe is missing.
        """
        training = set(trained)
        for probe in self.probes:
            if not Path(probe).is_file():
                raise InputError(f"watch.probes: there is no picture {probe}.")
        found = []
        for path in self.manifests:
            own = [row for row in of_split(read_manifest(path), self.split) if row.score]
            if not own:
                raise InputError(f"watch: {path} has no scored picture in split {self.split!r}.")
            both = [row.image for row in own if row.image in training]
            if both:
                raise InputError(
                    f"watch: {len(both)} pictures of {path} are trained on, such as {both[0]}; "
                    "separate them with `rali data split`."
                )
            chosen = np.random.default_rng(0).permutation(len(own))[: self.pictures]
            found += [own[place] for place in sorted(chosen)]
        return found


class Watch(TrainerCallback):
    """Validates the model before, during and after its training, and logs what the trainer logs.

    Args:
        rows: the validation pictures, as `config.rows()` gives them.
        run: the folder to write to.
        prompt: the prompt that pictures are scored with.
        max_new_tokens: a text is cut off after this many.
        stage: the training's name in metrics.jsonl and for `progress`.
        progress: called with the mean reward, or the loss of a training without rewards.
    """

    def __init__(
        self,
        config: WatchConfig,
        rows: list[Row],
        run: RunFolder,
        prompt: Prompt,
        processor: Any,
        *,
        max_new_tokens: int,
        stage: str = "train",
        progress: Progress = silent,
    ) -> None:
        self.config, self.run, self.prompt, self.processor = config, run, prompt, processor
        self.max_new_tokens, self.stage, self.progress = max_new_tokens, stage, progress
        self.rows = rows
        self.trainer: Any = None
        self.warned: set[str] = set()

    def follow(self, trainer: Any) -> None:
        """Watch this trainer's model, and log in place of the trainer's own printer."""
        self.trainer = trainer
        trainer.remove_callback(PrinterCallback)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer.is_fsdp_enabled:
            # accelerate does not mark an FSDP2 model as such, and `generate` would not wait for the
            # process with the longest text.
            model = self.trainer.accelerator.unwrap_model(self.trainer.model_wrapped)
            model._is_fsdp_managed_module = True
        if state.global_step == 0:
            self.look(0)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        last = state.global_step == state.max_steps
        due = self.config.every and state.global_step % self.config.every == 0
        if due or last:
            self.look(state.global_step)
        control.should_log |= last

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        values = {k: v for k, v in (logs or {}).items() if isinstance(v, int | float)}
        if state.is_world_process_zero and "loss" in values:
            self.run.log(stage=self.stage, step=state.global_step, **values)
            shown = values.get("reward", values["loss"])
            self.progress(self.stage, state.global_step, state.max_steps, shown)
            if state.global_step % (10 * args.logging_steps) == 0:
                self.warn()

    def warn(self) -> None:
        """Say what to try, once of each thing, where the log shows that it goes nowhere."""
        for about, sentence in advice(self.run.metrics()).items():
            if about not in self.warned:
                warnings.warn(sentence, stacklevel=2)
            self.warned.add(about)

    def look(self, step: int) -> None:
        """Score the validation pictures and ask the teacher about the probes."""
        if not self.rows and not self.config.probes:
            return
        from accelerate.utils import gather_object

        accelerator = self.trainer.accelerator
        rank, world = accelerator.process_index, accelerator.num_processes
        sampling = Sampling(self.config.temperature, max_new_tokens=self.max_new_tokens)
        with self._engine() as engine:
            # All processes ask for equally many texts, as sharded weights need every process.
            mine = self.rows[rank::world]
            short = -(-len(self.rows) // world) - len(mine)
            scored = score(
                engine, [row.image for row in mine + self.rows[:short]], self.prompt,
                samples=self.config.samples, sampling=sampling,
            )  # fmt: skip
            requests = [Request((Path(p),), self.prompt) for p in self.config.probes]
            replies = ask(engine, requests, Sampling(0, max_new_tokens=self.max_new_tokens))
        everyone = gather_object(list(zip(mine, scored, strict=False)))
        if rank:
            return
        for dataset in dict.fromkeys(row.dataset for row, _ in everyone):
            own = [(row, found) for row, found in everyone if row.dataset == dataset]
            stage = f"validate/{dataset or 'unnamed'}"
            self.run.log(stage=stage, step=step, **agreement(own))
        for probe, reply in zip(self.config.probes, replies, strict=True):
            row = {"step": step, "image": probe, "text": reply.text}
            add_row(row, self.run.folder / PROBES)
        self.warn()

    @contextmanager
    def _engine(self) -> Iterator[TransformersEngine]:
        from trl.models import unwrap_model_for_generation

        trainer = self.trainer
        with unwrap_model_for_generation(trainer.model_wrapped, trainer.accelerator) as model:
            training = model.training
            model.eval()
            try:
                yield TransformersEngine(
                    model, self.processor, "in training", self.config.batch_size
                )
            finally:
                model.train(training)
