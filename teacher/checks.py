"""What a training starts with, and all that would stop it: one list, for it and for its dry run.

In: settings, and how their examples are read. Out: the examples, the validation pictures, and the
reasons why the training could not start. No model is loaded; neither torch, transformers nor TRL is
imported and nothing is asked of a network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from rali.data.manifest import Row
from rali.errors import InputError, MissingExtraError, missing_extra

from .adapter import check_targets
from .claims import check_pictures
from .models import check_place
from .plan import BatchPlan
from .shapes import model_shape
from .training import TrainingConfig
from .trl_fields import check_choice, check_trl, keys_of
from .trl_settings import check_setting
from .vllm_rollouts import check_rollouts


class Pictured(Protocol):
    """An example of a training."""

    @property
    def images(self) -> tuple[Path, ...]:
        """Its pictures."""
        ...


E = TypeVar("E", bound=Pictured)
T = TypeVar("T")
# In names of optimisers; adamw_torch_8bit is torchao's.
BITSANDBYTES = re.compile("(?<!torch_)8bit|bnb|paged|ademamix|lion")
# Package → the extra of rali that brings it, and whether a training needs it.
PACKAGES: dict[str, tuple[str, Callable[[TrainingConfig], bool]]] = {
    "trl": ("teach", lambda settings: True),
    "peft": ("teach", lambda settings: settings.lora.rank > 0),
    "bitsandbytes": (
        "4bit",
        lambda settings: bool(
            settings.quantization or BITSANDBYTES.search(str(settings.trl.get("optim")))
        ),
    ),
    "deepspeed": ("deepspeed", lambda settings: bool(settings.trl.get("deepspeed"))),
    "vllm": ("rollouts", lambda settings: bool(settings.trl.get("use_vllm"))),
}
# Trackers that need another module than that of their name: one of these, or none.
TRACKERS: dict[str, tuple[str, ...]] = {
    "azure_ml": ("azureml",),
    "flyte": ("flytekit",),
    "tensorboard": ("tensorboard", "tensorboardX"),
    **dict.fromkeys(("all", "none", "kubeflow"), ()),
}
FLASH = {"flash_attention_3": "flash_attn_interface"}  # the module, where it is not flash_attn


def check_tracker(name: str) -> None:
    """Refuse a name in `report_to` that transformers does not know, or has no package for here."""
    known = keys_of("transformers/integrations/integration_utils.py", "INTEGRATION_TO_CALLBACK")
    check_choice("report_to", name, known and [*known, "all", "none"])
    modules = TRACKERS.get(name, (name,))
    if modules and not any(map(_is_here, modules)):
        raise InputError(
            f"report_to: {name} needs {modules[0]}, which is not installed. Install it, or leave "
            f"{name} out."
        )


def check_attention(name: str) -> None:
    """Refuse an `attn_implementation` that transformers does not know, or has no package for here.

    The Hub id of a kernel is one. Flash attention is taken from the Hub too, where `kernels` is
    installed and its own package is not.
    """
    name = name.removeprefix("paged|")
    wanted = ["kernels"]
    if "/" not in name:
        known = keys_of("transformers/modeling_utils.py", "_global_mapping", "sdpa")
        check_choice("attn_implementation", name, known and [*known, "eager"])
        if not name.startswith("flash_attention_"):
            return
        wanted.insert(0, FLASH.get(name, "flash_attn"))
    if not any(map(_is_here, wanted)):
        raise InputError(
            f"attn_implementation: {name} needs {' or '.join(wanted)}, which is not installed. "
            "Type: pip install kernels"
        )


def check_adapter(settings: TrainingConfig) -> None:
    """Refuse an adapter on layers that the model does not have, where its layers are known."""
    shape, eyes = model_shape(settings.model, settings.revision), settings.eyes_learn
    names = [name for name, *_ in shape.linear] if shape else []
    layers = {n.rpartition(".")[2] for n in names if eyes or not n.startswith("visual.")}
    check_targets(settings.lora, settings.model, layers, eyes=eyes)


def _is_here(module: str) -> bool:
    return find_spec(module) is not None


@dataclass
class Start(Generic[E]):
    """What a training starts with, and what would stop it.

    Attributes:
        problems: why it could not start; empty where nothing is known against it.
        absent: files and folders that it reads and that are not there, so that it has no examples
            yet.
        examples: in the order in which they are drawn, or as they are read.
        validation: the pictures to validate on.
        plan: the batch arithmetic of a training by rewards.
    """

    problems: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
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
    files: Sequence[tuple[str, Callable[[], Sequence[E]]]],
    read: Callable[[BatchPlan | None], Sequence[E]],
    *,
    plan: Callable[[], BatchPlan] | None = None,
    more: Sequence[Callable[[], None]] = (),
    done: bool = False,
) -> Start[E]:
    """Ask all that can be asked before a model is loaded.

    Args:
        kind: the class of TRL that takes the fields of `settings.trl`.
        files: files or folders that `read` reads, each with what reads it alone: where not all can
            be read, the pictures of the others are looked for.
        read: gives the examples, which have `images`, for the plan.
        plan: gives the batch arithmetic, where there is one.
        more: what else to ask; each raises an error of rali's for a problem.
        done: whether the training has been done here, so that neither packages nor pictures
            are needed any more, and no field of TRL's is refused that an older version took.
    """
    found = Start[E]()
    if not done:
        found.problems += [
            missing_extra(package, extra)
            for package, (extra, needed) in PACKAGES.items()
            if needed(settings) and not _is_here(package)
        ]
        found.attempt(lambda: check_place(settings.model, settings.revision))
        for name in settings.report_to:
            found.attempt(partial(check_tracker, name))
        if settings.attn_implementation:
            found.attempt(lambda: check_attention(settings.attn_implementation))
        if settings.lora.rank:
            found.attempt(lambda: check_adapter(settings))
        for name, value in settings.trl.items():
            known = len(found.problems)
            found.attempt(partial(check_trl, kind, {name: value}))
            if known == len(found.problems):
                found.attempt(partial(check_setting, settings, name))
        if settings.trl.get("use_vllm") and _is_here("trl"):
            found.attempt(lambda: check_rollouts(settings.trl))
        for check in more:
            found.attempt(check)
    if plan:
        found.plan = found.attempt(plan)
    watched = settings.watch.manifests
    read_too = dict.fromkeys([*(path for path, _ in files), *watched])
    found.absent = [path for path in read_too if not Path(path).exists()]
    if found.absent:
        found.problems.append(
            f"There is no file or folder at {', '.join(found.absent)}; make it, or give its folder "
            "with --data."
        )
    if found.absent or (plan and not found.plan):
        here = [alone for path, alone in files if path not in found.absent]
        own = [example for alone in here for example in found.attempt(alone) or ()]
    else:
        own = found.examples = list(found.attempt(lambda: read(found.plan)) or ())
    trained = [path for each in own for path in each.images]
    watch = replace(settings.watch, manifests=[each for each in watched if Path(each).exists()])
    found.validation = found.attempt(lambda: watch.rows(trained)) or []
    if not done:
        found.attempt(lambda: check_pictures([*trained, *(row.image for row in found.validation)]))
    return found
