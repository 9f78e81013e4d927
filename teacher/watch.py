"""Watching a teacher while it trains: its validation scores, and its texts about some pictures.

A callback for TRL's trainers. It writes rows to the run's metrics.jsonl and texts to probes.jsonl,
and warns once of each thing that goes wrong (see `advice`). It draws nothing from the training's
random numbers, so that a training takes the same steps whether it is watched or not.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainerCallback

from rali.data.manifest import Row
from rali.runs.folder import RunFolder, add_row
from rali.runs.progress import Progress, silent

from .advice import advice
from .ask import agreement, ask, score
from .engines import Request, Sampling, TransformersEngine
from .prompts import Prompt
from .watch_config import WatchConfig

PROBES = "probes.jsonl"


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
            self.run.log(stage=f"validate/{dataset}", step=step, **agreement(own))
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
