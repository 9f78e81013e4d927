"""What is looked at while a teacher trains: validation scores, and what it says of some pictures.

A callback for TRL's trainers. It writes rows to the run's metrics.jsonl and texts to probes.jsonl,
and draws nothing from the training's own random numbers, so that a training goes the same way
whether it is watched or not.
"""

from __future__ import annotations

import json
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
from rali.runs.folder import RunFolder
from rali.runs.progress import Report

from .ask import agreement, ask, score
from .engines import Request, Sampling, TransformersEngine
from .prompts import PROMPTS, Prompt, find_prompt
from .tasks import of_split

PROBES = "probes.jsonl"


@dataclass
class WatchConfig:
    """What to look at while training.

    Attributes:
        every: steps between looks; there is one before the first step and one after the last. 0
            looks only then.
        manifests: pictures to validate on. split: their part.
        pictures: at most so many of each data set, drawn once.
        samples: per picture; their mean is the score, as in the papers' tests. temperature: theirs.
        probes: pictures whose rationale is written down at each look (VisualQuality-R1, Fig. 4).
        prompt: for a score; empty takes the training's own, or VisualQuality-R1's.
        batch_size: texts side by side.
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
        """The prompt to score with, given those of the training."""
        if self.prompt:
            return find_prompt(self.prompt)
        own = (prompt for prompt in prompts if prompt.task == "score")
        return next(own, PROMPTS["visualquality-r1/score"])

    def rows(self, trained: Iterable[Path] = ()) -> list[Row]:
        """The pictures to validate on, the same at every look.

        Args:
            trained: pictures that are trained on.

        Raises:
            InputError: a manifest without labelled pictures in the split, or with pictures that
                are trained on; or a probe that is not there.
        """
        known = set(trained)
        for probe in self.probes:
            if not Path(probe).is_file():
                raise InputError(f"watch.probes: there is no picture {probe}.")
        found = []
        for path in self.manifests:
            own = [row for row in of_split(read_manifest(path), self.split) if row.score]
            if not own:
                raise InputError(f"watch: {path} has no scored picture in split {self.split!r}.")
            both = [row.image for row in own if row.image in known]
            if both:
                raise InputError(
                    f"watch: {len(both)} pictures of {path} are trained on, such as {both[0]}; "
                    "`rali data split` parts them."
                )
            chosen = np.random.default_rng(0).permutation(len(own))[: self.pictures]
            found += [own[place] for place in sorted(chosen)]
        return found


class Watch(TrainerCallback):
    """Looks at the model before, while and after it trains, and logs what the trainer logs.

    Args:
        rows: of `config.rows()`. run: where to write. prompt: what pictures are scored with.
        max_new_tokens: of a text.
        stage: the name of the training in metrics.jsonl.
        report: called with (stage, step, steps, loss).
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
        report: Report | None = None,
    ) -> None:
        self.config, self.run, self.prompt, self.processor = config, run, prompt, processor
        self.max_new_tokens, self.stage, self.report = max_new_tokens, stage, report
        self.rows = rows
        self.trainer: Any = None

    def follow(self, trainer: Any) -> None:
        """Look at this trainer's model, and say in its place what it logs."""
        self.trainer = trainer
        trainer.remove_callback(PrinterCallback)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer.is_fsdp_enabled:
            # FSDP2 as accelerate makes it does not say so, and `generate` would not wait for the
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
            if self.report:
                shown = values.get("reward", values["loss"])
                self.report(self.stage, state.global_step, state.max_steps, shown)

    def look(self, step: int) -> None:
        """Score the validation pictures and let the teacher speak about the probes."""
        if not self.rows and not self.config.probes:
            return
        from accelerate.utils import gather_object

        accelerator = self.trainer.accelerator
        rank, world = accelerator.process_index, accelerator.num_processes
        sampling = Sampling(self.config.temperature, max_new_tokens=self.max_new_tokens)
        with self._engine() as engine:
            # Every process asks for as many texts, as sharded weights need all of them each time.
            mine = self.rows[rank::world]
            short = -(-len(self.rows) // world) - len(mine)
            scored = score(
                engine, [row.image for row in mine + self.rows[:short]], self.prompt,
                samples=self.config.samples, sampling=sampling,
            )  # fmt: skip
            requests = [Request((Path(p),), self.prompt) for p in self.config.probes]
            told = ask(engine, requests, Sampling(0, max_new_tokens=self.max_new_tokens))
        everyone = gather_object(list(zip(mine, scored, strict=False)))
        if rank:
            return
        for dataset in dict.fromkeys(row.dataset for row, _ in everyone):
            own = [(row, found) for row, found in everyone if row.dataset == dataset]
            stage = f"validate/{dataset or 'unnamed'}"
            self.run.log(stage=stage, step=step, **agreement(own))
        with (self.run.folder / PROBES).open("a", encoding="utf-8") as file:
            for probe, answer in zip(self.config.probes, told, strict=True):
                file.write(json.dumps({"step": step, "image": probe, "text": answer.text}) + "\n")

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
