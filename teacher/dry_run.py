"""What a training would do and what would stop it, said before any model is loaded.

In: settings. Out: sentences, and the reasons why the training could not start. Neither torch,
transformers nor TRL is imported and nothing is asked of a network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from rali.errors import InputError, MissingExtraError, missing_extra

from .claims import check_pictures
from .grpo import GrpoConfig, ordered_examples
from .memory import describe_memory
from .sft import SftConfig, sft_examples
from .training import TrainingConfig
from .trl_fields import check_trl
from .vllm_rollouts import check_rollouts
from .votes import pairs_that_meet, subjects_of

T = TypeVar("T")


@dataclass
class DryRun:
    """What a training would do.

    Attributes:
        lines: sentences.
        problems: why it could not start; empty where nothing is known against it.
    """

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def attempt(self, work: Callable[[], T]) -> T | None:
        """What `work` returns; None where it raises an error of rali's, which is a problem then."""
        try:
            return work()
        except (InputError, MissingExtraError) as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return None

    def check(self) -> None:
        """Raise an InputError with all problems, if there are any."""
        if len(self.problems) > 1:
            listed = "\n".join(f"  {problem}" for problem in self.problems)
            raise InputError(f"{len(self.problems)} things would stop this training:\n{listed}")
        if self.problems:
            raise InputError(self.problems[0])


def _installed(settings: TrainingConfig) -> DryRun:
    """A dry run that has looked for the packages that the settings need."""
    needed = ["trl", *(["bitsandbytes"] if settings.quantization else [])]
    return DryRun(problems=[missing_extra(name) for name in needed if find_spec(name) is None])


def grpo_dry_run(settings: GrpoConfig, processes: int) -> DryRun:
    """What `grpo.train` would do on this many processes (GPUs)."""
    found = _installed(settings)
    found.attempt(lambda: check_trl("GRPOConfig", settings.trl))
    if settings.trl.get("use_vllm") and find_spec("trl"):
        found.attempt(lambda: check_rollouts(settings.trl))
    plan = found.attempt(lambda: settings.plan(processes))
    if plan is None:
        return found
    found.lines.append(plan.words())
    missing = [
        path
        for task in settings.tasks
        for path in [*task.manifests, *settings.watch.manifests]
        if not Path(path).is_file()
    ]
    if missing := list(dict.fromkeys(missing)):
        found.problems.append(_absent("manifest", missing))
        found.lines.append(
            f"An epoch has a step for each {plan.prompts} pictures, which are not here to count."
        )
    else:
        drawn = found.attempt(lambda: ordered_examples(settings, plan))
        if drawn:
            most = settings.trl.get("max_steps", -1)
            steps = len(drawn) // plan.prompts
            found.lines.append(
                f"{len(set(drawn)):,} examples of {', '.join(sorted({e.dataset for e in drawn}))}: "
                f"{steps / settings.epochs:,.4g} steps an epoch, "
                + _steps(settings, steps)
                + (f" (trl.max_steps; {steps:,} without it)." if most > 0 else ".")
            )
            if pairs := pairs_that_meet(drawn, settings.tasks, plan.compared):
                texts = len(subjects_of(pairs, settings.votes)) * settings.votes.count
                found.lines.append(
                    f"Before them the model votes on {len(pairs):,} pairs, in {texts:,} texts."
                )
        _pictures(found, settings, drawn or [])
    found.lines.append(describe_memory(settings, plan))
    return found


def sft_dry_run(settings: SftConfig, processes: int) -> DryRun:
    """What `sft.train_sft` would do on this many processes (GPUs)."""
    found = _installed(settings)
    found.attempt(lambda: check_trl("SFTConfig", settings.trl))
    together = settings.batch_size * processes
    each = f" on each of {processes} GPUs" if processes > 1 else ""
    found.lines.append(
        f"{settings.batch_size} examples{each} = {together} examples per step, "
        f"micro-batches of {settings.micro_batch}."
    )
    missing = [source.triplets for source in settings.sources if not Path(source.triplets).exists()]
    missing += [path for path in settings.watch.manifests if not Path(path).is_file()]
    if missing:
        found.problems.append(_absent("file or folder", missing))
        found.lines.append(
            f"An epoch has a step for each {together} examples, which are not here to count."
        )
    elif own := found.attempt(lambda: sft_examples(settings)):
        steps = -(-max(1, round(settings.epochs * len(own))) // together)
        found.lines.append(
            f"{len(own):,} examples: {len(own) / together:,.4g} steps an epoch, "
            f"{_steps(settings, steps)}."
        )
        _pictures(found, settings, own)
    found.lines.append(describe_memory(settings, shards=processes))
    return found


def _steps(settings: TrainingConfig, steps: int) -> str:
    count = settings.steps(steps)
    epochs = f"{settings.epochs:g} epoch{'s' * (settings.epochs != 1)}"
    return f"{count:,} step{'s' * (count != 1)} in {epochs}"


def _absent(what: str, paths: Sequence[str]) -> str:
    listed = ", ".join(paths)
    return f"There is no {what} at {listed}; make it, or give its folder with --data."


def _pictures(found: DryRun, settings: TrainingConfig, own: Sequence[Any]) -> None:
    found.attempt(lambda: check_pictures(own))
    found.attempt(lambda: settings.watch.rows(path for example in own for path in example.images))
