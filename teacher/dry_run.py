"""What a training would do and what would stop it, said before any model is loaded.

In: settings. Out: sentences, and the reasons why the training could not start, which are those that
the training itself looks for (`checks`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .checks import Start
from .grpo import GrpoConfig, grpo_start, voted_pairs
from .memory import describe_length, describe_memory
from .sft import SftConfig, sft_start
from .training import TrainingConfig
from .votes import subjects_of


@dataclass
class DryRun:
    """What a training would do.

    Attributes:
        start: what it would start with, and what would stop it.
        lines: sentences.
    """

    start: Start
    lines: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Raise an InputError with all problems, if there are any."""
        self.start.check()


def grpo_dry_run(settings: GrpoConfig, processes: int) -> DryRun:
    """What `grpo.train` would do on this many processes (GPUs)."""
    found = DryRun(grpo_start(settings, processes))
    plan, drawn = found.start.plan, found.start.examples
    if plan is None:
        return found
    found.lines.append(plan.words())
    if found.start.absent:
        found.lines.append(_uncounted(settings, plan.prompts, "pictures"))
    if drawn:
        steps = len(drawn) // plan.prompts * settings.iterations
        found.lines.append(
            f"{len(set(drawn)):,} examples of {', '.join(sorted({e.dataset for e in drawn}))}: "
            f"{steps / settings.epochs:,.4g} steps an epoch, {_steps(settings, steps)}"
        )
        if pairs := voted_pairs(settings, plan, drawn):
            texts = len(subjects_of(pairs, settings.votes)) * settings.votes.count
            found.lines.append(
                f"Before them the model votes on {len(pairs):,} pairs, in {texts:,} texts."
            )
    found.lines += filter(None, [describe_memory(settings, plan), describe_length(settings)])
    return found


def sft_dry_run(settings: SftConfig, processes: int) -> DryRun:
    """What `sft.train_sft` would do on this many processes (GPUs)."""
    found = DryRun(sft_start(settings))
    together, own = settings.batch_size * processes, found.start.examples
    each = f" on each of {processes} GPUs" if processes > 1 else ""
    found.lines.append(
        f"{settings.batch_size} examples{each} = {together} examples per step, "
        f"micro-batches of {settings.micro_batch}."
    )
    if found.start.absent:
        found.lines.append(_uncounted(settings, together, "examples"))
    if own:
        steps = -(-max(1, round(settings.epochs * len(own))) // together)
        found.lines.append(
            f"{len(own):,} examples: {len(own) / together:,.4g} steps an epoch, "
            f"{_steps(settings, steps)}"
        )
    found.lines.append(describe_memory(settings, shards=processes))
    return found


def _uncounted(settings: TrainingConfig, together: int, what: str) -> str:
    steps = "a step" if settings.iterations == 1 else f"{settings.iterations} steps"
    return f"An epoch has {steps} for each {together} {what}, which are not here to count."


def _steps(settings: TrainingConfig, steps: int) -> str:
    """How many steps fill all epochs, and how many are taken where `trl.max_steps` says so."""
    epochs = f"{settings.epochs:g} epoch{'s' * (settings.epochs != 1)}"
    words = f"{steps:,} step{'s' * (steps != 1)} in {epochs}"
    most = settings.trl.get("max_steps", -1)
    return f"{words}; trl.max_steps makes it {most:,}." if most > 0 else f"{words}."
