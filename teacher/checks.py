"""What a training starts with, and all that would stop it: one list, for it and for its dry run.

In: settings, and how their examples are read. Out: the examples, the validation pictures, and the
reasons why the training could not start. No model is loaded; neither torch, transformers nor TRL is
imported and nothing is asked of a network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from rali.data.manifest import Row
from rali.errors import InputError, MissingExtraError, missing_extra

from .claims import check_pictures
from .plan import BatchPlan
from .training import TrainingConfig
from .trl_fields import check_trl
from .vllm_rollouts import check_rollouts


class Pictured(Protocol):
    """An example of a training."""

    @property
    def images(self) -> tuple[Path, ...]:
        """Its pictures."""
        ...


E = TypeVar("E", bound=Pictured)
T = TypeVar("T")
# Package → the extra of rali that brings it, and whether a training needs it.
PACKAGES: dict[str, tuple[str, Callable[[TrainingConfig], bool]]] = {
    "trl": ("teach", lambda settings: True),
    "peft": ("teach", lambda settings: settings.lora.rank > 0),
    "bitsandbytes": ("4bit", lambda settings: bool(settings.quantization)),
    "vllm": ("rollouts", lambda settings: bool(settings.trl.get("use_vllm"))),
}


@dataclass
class Start(Generic[E]):
    """What a training starts with, and what would stop it.

    Attributes:
        problems: why it could not start; empty where nothing is known against it.
        missing: whether files that it reads are not there, so that it has no examples yet.
        examples: in the order in which they are drawn, or as they are read.
        validation: the pictures to validate on.
        plan: the batch arithmetic of a training by rewards.
    """

    problems: list[str] = field(default_factory=list)
    missing: bool = False
    examples: list[E] = field(default_factory=list)
    validation: list[Row] = field(default_factory=list)
    plan: BatchPlan | None = None

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


def start_of(
    settings: TrainingConfig,
    kind: str,
    files: Sequence[str],
    read: Callable[[BatchPlan | None], Sequence[E]],
    *,
    plan: Callable[[], BatchPlan] | None = None,
    finished: bool = False,
) -> Start[E]:
    """Ask all that can be asked before a model is loaded.

    Args:
        kind: the class of TRL that takes the fields of `settings.trl`.
        files: files or folders that `read` reads.
        read: gives the examples, which have `images`, for the plan.
        plan: gives the batch arithmetic, where there is one.
        finished: whether the training has been done here, so that neither packages nor pictures
            are needed any more.
    """
    found = Start[E]()
    if not finished:
        found.problems += [
            missing_extra(package, extra)
            for package, (extra, needed) in PACKAGES.items()
            if needed(settings) and find_spec(package) is None
        ]
    found.attempt(lambda: check_trl(kind, settings.trl))
    if settings.trl.get("use_vllm") and find_spec("trl") and not finished:
        found.attempt(lambda: check_rollouts(settings.trl))
    if plan:
        found.plan = found.attempt(plan)
    read_too = [*files, *settings.watch.manifests]
    absent = [path for path in dict.fromkeys(read_too) if not Path(path).exists()]
    if absent:
        found.missing = True
        found.problems.append(
            f"There is no file or folder at {', '.join(absent)}; make it, or give its folder with "
            "--data."
        )
    elif found.plan or not plan:
        own = found.attempt(lambda: read(found.plan)) or ()
        found.examples = list(own)
        if not finished:
            found.attempt(lambda: check_pictures(own))
        trained = [path for each in own for path in each.images]
        found.validation = found.attempt(lambda: settings.watch.rows(trained)) or []
    return found
