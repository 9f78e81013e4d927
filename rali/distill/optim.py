"""What every training loop here needs: a schedule, AdamW's groups, a checkpoint to resume from."""

from __future__ import annotations

import math
import os
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from rali.errors import InputError
from rali.files import replace_atomically
from rali.student.trunk import TrunkEncoder

from .stream import cropped_edge

if TYPE_CHECKING:
    from accelerate import Accelerator, PartialState

SAVE_EVERY = 60.0  # seconds between two checkpoints


def processes() -> PartialState:
    """This process among those of `accelerate launch` or `torchrun`; on CPUs too.

    accelerate takes processes without a GPU for single ones, of which each would write, unless it
    is told before anything else asks.
    """
    from accelerate import PartialState

    alone = "LOCAL_RANK" not in os.environ
    return PartialState() if alone or torch.accelerator.is_available() else PartialState(cpu=True)


def accelerator_of(precision: str) -> Accelerator:
    """accelerate's view of this process, whatever was trained in it before.

    accelerate remembers the first precision that it was given and refuses another: a teacher's
    training in bfloat16 would stop an alignment after it. transformers forgets it likewise.

    Args:
        precision: autocast type, `bf16`, `fp16` or `fp32`.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    processes()
    wanted = {"fp32": "no"}.get(precision, precision)
    if AcceleratorState._shared_state.get("_mixed_precision", wanted) != wanted:
        AcceleratorState._reset_state()
    return Accelerator(mixed_precision=wanted)


def cosine_schedule(step: int, steps: int, warmup: float) -> float:
    """Factor on the peak rate: a linear rise over `warmup`·steps, then half a cosine to 0."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def decay_groups(
    named: Iterable[tuple[str, Tensor]], weight_decay: float, *, spared: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """AdamW's groups: matrices and kernels decay; biases, norms and names with `spared` do not."""
    decayed: list[Tensor] = []
    plain: list[Tensor] = []
    for name, parameter in named:
        small = parameter.ndim <= 1 or any(part in name for part in spared)
        (plain if small else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]


def rate_groups(
    encoder: nn.Module, weight_decay: float, lr: float, trunk_rate: float
) -> list[dict[str, Any]]:
    """`decay_groups` of an encoder; a pretrained trunk under a new head learns more slowly.

    Each group carries its peak rate as `peak`: `lr`, times `trunk_rate` for the trunk of a
    `TrunkEncoder`. open_clip's towers on timm's models call a part `trunk` too, but their heads are
    as trained as their trunks.
    """
    named = list(encoder.named_parameters())
    trunk = encoder.trunk.parameters() if isinstance(encoder, TrunkEncoder) else ()
    slow = {id(parameter) for parameter in trunk}
    inside = [pair for pair in named if id(pair[1]) in slow]
    outside = [pair for pair in named if id(pair[1]) not in slow]
    groups = []
    for some, peak in ((outside, lr), (inside, lr * trunk_rate)):
        groups += [group | {"lr": peak, "peak": peak} for group in decay_groups(some, weight_decay)]
    return [group for group in groups if group["params"]]


def normalises(model: nn.Module) -> bool:
    """Whether a model normalises over the pictures of a batch."""
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules())


def check_cropped(encoder: nn.Module, crop: float, size: int, stage: str) -> None:
    """Refuse crops for an encoder that takes pixels of one size alone.

    Args:
        stage: whose setting `crop` is, for the message.

    Raises:
        InputError: the encoder cannot take pixels of this size.
    """
    if crop >= 1:
        return
    edge, training = cropped_edge(size, crop), encoder.training
    some = next(encoder.parameters())
    try:
        with torch.no_grad():
            encoder.eval()(torch.zeros(1, 3, edge, edge, dtype=some.dtype, device=some.device))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"{stage}.crop is {crop:g}: the encoder cannot take pixels of {edge} × {edge}, only of "
            f"{size} × {size}. Leave {stage}.crop at 1."
        ) from error
    finally:
        encoder.train(training)


def check_normalised(model: nn.Module, batch: int, settings: str) -> None:
    """Refuse batches of one for a model that normalises over the batch.

    Args:
        settings: the settings that decide the batch, for the message.

    Raises:
        InputError: a batch of one, and a model with batch normalisation.
    """
    if batch < 2 and normalises(model):
        raise InputError(
            "This encoder normalises over the pictures of a batch, and here a batch is a single "
            f"picture; raise {settings}, or give more pictures."
        )


class Passes:
    """Pictures by passes: each pass is one permutation of them all, cut into steps of one size.

    A step may take the end of one pass and the start of the next, which then begins with pictures
    that are not in that end: no picture is in a step twice. The order depends on the seed alone, so
    a loop may resume at any step.

    Args:
        count: pictures. size: pictures per step, at most `count`.
    """

    def __init__(self, count: int, size: int, seed: int) -> None:
        self.count, self.size, self.seed = count, size, seed
        self._orders: dict[int, np.ndarray] = {}

    def at(self, step: int) -> np.ndarray:
        """The places [size] of the pictures of a step."""
        number, place = divmod(step * self.size, self.count)
        found = self._order(number)[place : place + self.size]
        rest = self.size - len(found)
        return np.concatenate([found, self._order(number + 1)[:rest]]) if rest else found

    def _order(self, number: int) -> np.ndarray:
        """The pass of this number, from 0; two of them are kept."""
        if number < min(self._orders, default=0):
            self._orders = {}
        for each in range(max(self._orders, default=-1) + 1, number + 1):
            order = np.random.default_rng((self.seed, each)).permutation(self.count)
            if taken := each * self.count % self.size:  # by the last step of the pass before
                before = self._orders[each - 1][-taken:]
                fresh = order[~np.isin(order, before)][: self.size - taken]
                order = np.concatenate([fresh, order[~np.isin(order, fresh)]])
            self._orders = {each - 1: self._orders.get(each - 1, order), each: order}
        return self._orders[number]


class Stateful(Protocol):
    """What a checkpoint can hold: a module, an optimizer."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


class Checkpoint:
    """The parts of a training loop in one file, with the step and the random states.

    Whoever has saved the loop's result deletes the file.

    Args:
        path: the file, or None to keep nothing.
        mark: identifies the run; the file of another run is refused.
        parts: modules, optimizers and gradient scalers by name.
    """

    def __init__(self, path: Path | None, mark: str, **parts: Stateful) -> None:
        self.path = path
        self.mark = mark
        self.parts = parts
        self._saved = time.monotonic()

    def resume(self) -> int:
        """Load what was saved; returns the steps done, 0 without a file.

        Raises:
            InputError: the file is of another run, or damaged.
        """
        if self.path is None or not self.path.is_file():
            return 0
        damaged = InputError(f"{self.path} is damaged; delete it to start again.")
        try:
            with zipfile.ZipFile(self.path) as parts:
                if parts.testzip():  # torch writes these sums, and does not compare them
                    raise damaged
            state = torch.load(self.path, map_location="cpu", weights_only=True)  # runs no code
        except Exception as error:  # torch raises many types for a damaged file
            raise damaged from error
        if not isinstance(state, dict) or state.get("mark") != self.mark:
            raise InputError(
                f"{self.path} belongs to a run with other settings; give another folder, or delete "
                "it to start again."
            )
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["rng"])
        if torch.cuda.is_available() and state.get("cuda_rng"):
            torch.cuda.set_rng_state_all(state["cuda_rng"])
        return state["step"]

    def save(self, step: int) -> None:
        """Save after `step` steps, if the last save is a minute old (`SAVE_EVERY`)."""
        if self.path is None or time.monotonic() - self._saved < SAVE_EVERY:
            return
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"step": step, "mark": self.mark, "rng": torch.get_rng_state()}
        if torch.cuda.is_available():
            state["cuda_rng"] = torch.cuda.get_rng_state_all()

        def write(path: Path) -> None:
            with path.open("wb") as file:  # of its own, torch does not say that a disk is full
                torch.save(state, file)

        replace_atomically(self.path, write, durable=True)
        self._saved = time.monotonic()
