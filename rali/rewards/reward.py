"""A student as the reward of an image generator: float pictures in, scores with gradients out."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from rali.errors import InputError
from rali.student.encoders import family_of
from rali.student.student import Student

from .pictures import pictures_of
from .resize import resize, to_levels

Scaling = Literal["none", "affine", "sigmoid"]
LOWER = (torch.bfloat16, torch.float16)
BATCH = 32  # pictures per forward pass, of those that are not a batch yet
# Offsets of the crops that caution looks at, in 64ths of an edge. They break the alignment with the
# encoder's patches and blocks, which a pattern that fools the encoder depends on.
SHIFTS = ((1, 0.6), (-0.6, 1), (-1, -0.6), (0.6, -1))


class RaliReward(nn.Module):
    """Scores [batch] of pictures [batch, 3, H, W], of any size and aspect, with gradients.

        reward = RaliReward("builtin", input_range=(-1, 1), device="cuda", dtype=torch.bfloat16)
        scores = reward(decoded)          # float32 [batch], 1–5, higher is better
        (-scores.mean()).backward()       # reaches `decoded`
        reward(["a.png", pil_picture])    # without gradients: whatever `pictures_of` reads

    The score is what `rali score` gives for the picture saved as PNG: the picture is rounded to 256
    levels and resized, cropped and normalised as a file is. Gradients pass straight through the
    rounding. The weights are frozen; the module holds no state, so threads may share it. A score
    does not depend on the rest of its batch, except in the last digits of float sums.

    Args:
        model: "builtin", a model folder, a Hugging Face Hub id, or a `Student`.
        input_range: the values of black and white, (0, 1) or (-1, 1). Values outside are clipped,
            as in a file, and have no gradient.
        device: where it runs and expects pictures; by default the device of a given student, else
            the CPU.
        dtype: type of the encoder's arithmetic: torch.float32, bfloat16 or float16 (by autocast,
            which keeps float32 where it is needed), or float64, to check gradients; or the type's
            name. Resize and bases are float32. Small gradients are lost in float16. Casting the
            module, or a module that holds it, moves it and leaves its types.
        scaling: "none" leaves 1–5. "affine" maps the score range to 0–1. "sigmoid" does so with
            σ(4 (score − middle) / (high − low)), from 0.12 to 0.88: it is flatter where scores are
            extreme.
        caution: k ≥ 0 in mean − k · standard deviation over five crops, the usual one and four that
            are a 64th of an edge off (mirrored at the border). A pattern that only one crop scores
            high is not rewarded. It takes five times the work.
        cutoff: how far from its bases (`Student.distance`) a picture may be. Beyond, the reward
            falls by the whole score range for each further such distance. Give a distance, or
            "familiar" for the distance that 99 % of real photographs keep within.
        rounded: False leaves out the rounding, for exact gradients (scores then differ from those
            of files where fine detail is faint).

    Raises:
        InputError: an argument is not as described, or there is no such model.
    """

    def __init__(
        self,
        model: str | Path | Student = "builtin",
        input_range: tuple[float, float] = (0.0, 1.0),
        device: Any = None,
        dtype: torch.dtype | str = torch.float32,
        *,
        scaling: Scaling = "none",
        caution: float = 0.0,
        cutoff: float | Literal["familiar"] | None = None,
        rounded: bool = True,
    ) -> None:
        super().__init__()
        # A copy, as the caller's student must not be frozen, cast and moved.
        if isinstance(model, Student):
            self.student = copy.deepcopy(model)
        else:
            self.student = Student.from_pretrained(model)
        self.student.requires_grad_(False)
        low, high = as_pair(input_range)
        if not low < high:
            raise InputError(
                f"input_range is black and white, such as (0, 1); got {input_range!r}."
            )
        check_scaling(scaling)
        dtype = getattr(torch, dtype, dtype) if isinstance(dtype, str) else dtype
        if dtype not in (*LOWER, torch.float32, torch.float64):
            raise InputError(f"dtype is {dtype}; expected a floating-point type, as torch.float32.")
        if not 0 <= as_number(caution) < math.inf:
            raise InputError(f"caution is {caution!r}; expected 0 or more.")
        if isinstance(cutoff, str) and cutoff == "familiar":
            cutoff = self.student.config.familiar
            if not cutoff:
                raise InputError(
                    "This model was distilled before distances were measured: give cutoff=NUMBER, "
                    "such as the 0.99 quantile of reward.distance(photographs)."
                )
        limit = None if cutoff is None else as_number(cutoff)
        if limit is not None and not limit > 0:
            raise InputError(
                f'cutoff is {cutoff!r}; expected "familiar", a distance above 0, or None.'
            )
        self.input_range = (low, high)
        self.dtype, self.scaling, self.rounded = dtype, scaling, rounded
        self.caution, self.cutoff = as_number(caution), limit
        self.preprocess = self.student.preprocess
        for name, values in (("mean", self.preprocess.mean), ("std", self.preprocess.std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        if device is None:
            device = self.student.mean.device
        super()._apply(lambda tensor: _as_float(tensor, device, dtype)).train(False)
        if dtype in LOWER and family_of(self.student.config.encoder["name"]).casts:
            # Else autocast would cast the weights in every pass, and keep that for the gradient.
            for part in self.student.encoder.modules():
                if isinstance(part, nn.Linear | nn.Conv2d | nn.MultiheadAttention):
                    part.to(dtype)

    mean: Tensor
    std: Tensor

    def train(self, mode: bool = True) -> RaliReward:
        """Does nothing: a reward is always in evaluation mode, also inside a module that trains."""
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RaliReward:
        """Moves but does not cast: a cast would change scores and make ties."""
        return super()._apply(lambda held: held.to(fn(held.new_empty(0)).device), recurse)

    @property
    def score_range(self) -> tuple[float, float]:
        """The range of scores before scaling, caution and cutoff."""
        return self.student.config.score_range

    def forward(self, pictures: Any, prompts: Any = None) -> Tensor:
        """Float [batch, 3, H, W] in `input_range` → rewards [batch], float32 (float64 in float64).

        Args:
            pictures: such a tensor, or whatever else `pictures_of` reads: files, PIL pictures,
                arrays, lists of them, of one size or many.
            prompts: ignored, as a score is of quality alone; many trainers give them.

        Raises:
            InputError: another shape or type, or values in another range.
            PictureError: a file cannot be read; the message names it.
        """
        if not isinstance(pictures, Tensor):
            return self.score_each(pictures_of(pictures, self.input_range))
        pixels = self._pixels(pictures)
        scores, distances = zip(*(self._score(crop) for crop in self._crops(pixels)), strict=True)
        score = scores[0]
        if self.caution:
            views = torch.stack(scores)
            spread = (views.var(0) + 1e-8).sqrt()  # has a gradient where all views are equal
            score = views.mean(0) - self.caution * spread
        low, high = self.score_range
        if self.cutoff is not None:
            excess = torch.stack(distances).amax(0) / self.cutoff - 1
            score = score - (high - low) * excess.clamp_min(0)
        return scaled(score, self.scaling, self.score_range)

    def score_each(self, pictures: Sequence[Tensor]) -> Tensor:
        """Rewards [n] of float pictures [3, H, W] in `input_range`, of one size or many."""
        by_size: dict[torch.Size, list[int]] = {}
        for place, picture in enumerate(pictures):
            by_size.setdefault(picture.shape, []).append(place)
        rewards, order = [self.mean.new_empty(0)], []
        for places in by_size.values():
            for some in (places[start : start + BATCH] for start in range(0, len(places), BATCH)):
                batch = torch.stack([pictures[place].to(self.mean.device) for place in some])
                rewards.append(self(batch))
                order += some
        return torch.cat(rewards)[torch.tensor(order, dtype=torch.long).argsort()]

    def distance(self, pictures: Tensor) -> Tensor:
        """How far pictures [batch, 3, H, W] are from the bases: [batch], to choose a `cutoff`."""
        return self._score(self._pixels(pictures))[1]

    def _pixels(self, pictures: Tensor) -> Tensor:
        """[batch, 3, S, S], 0–1, in the module's type."""
        if pictures.ndim != 4 or pictures.shape[1] != 3 or 0 in pictures.shape[2:]:
            raise InputError(
                f"A reward takes RGB pictures [batch, 3, H, W]; got {list(pictures.shape)}."
            )
        if not pictures.is_floating_point():
            raise InputError(
                f"A reward takes floats, got {pictures.dtype}: divide 0–255 by 255 (the adapters "
                "in rali.rewards do)."
            )
        low, high = self.input_range
        if not torch.compiler.is_compiling():
            check_range(pictures.detach(), low, high)
        with torch.autocast(pictures.device.type, enabled=False):
            unit = ((pictures.to(self.mean.dtype) - low) / (high - low)).clamp(0, 1)
            unit = to_levels(unit) if self.rounded else unit
            return resize(unit, self.preprocess, rounded=self.rounded)

    def _crops(self, pixels: Tensor) -> list[Tensor]:
        """The usual crop, and with caution four others."""
        if not self.caution:
            return [pixels]
        size = pixels.shape[-1]
        room = max(1, size // 64)
        padded = _mirrored(_mirrored(pixels, room, -1), room, -2)
        corners = [tuple(room + round(room * shift) for shift in shifts) for shifts in SHIFTS]
        return [pixels, *(padded[..., y : y + size, x : x + size] for y, x in corners)]

    def _score(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and distances from the bases, [batch] each."""
        kind = pixels.device.type
        lower = self.dtype in LOWER
        with torch.autocast(kind, self.dtype if lower else None, enabled=lower):
            embedding = self.student.encoder((pixels - self.mean) / self.std)
        with torch.autocast(kind, enabled=False):
            embedding = embedding.to(self.mean.dtype)
            return self.student.score_embeddings(embedding), self.student.distance(embedding)


def as_number(value: Any) -> float:
    """A number of any type, a tensor's too, as float; NaN for a text, a bool or anything else."""
    try:
        value = value.item() if hasattr(value, "item") else value
        return math.nan if isinstance(value, str | bytes | bool) else float(value)
    except (TypeError, ValueError, RuntimeError):  # the last is a tensor of several
        return math.nan


def as_pair(values: Any) -> tuple[float, float]:
    """Two numbers of a tuple, an array or any other list, as floats; NaN for anything else."""
    if isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping):
        found = [as_number(value) for value in values]
        if len(found) == 2:
            return found[0], found[1]
    return math.nan, math.nan


def check_scaling(scaling: str) -> None:
    """Refuse what is none of `Scaling` with an InputError."""
    if scaling not in get_args(Scaling):
        raise InputError(f"scaling is {scaling!r}; expected {', '.join(get_args(Scaling))}.")


def scaled(score: Tensor, scaling: Scaling, score_range: tuple[float, float]) -> Tensor:
    """Scores [n] as `RaliReward(scaling=…)` gives them: as they are, or from 0 to 1."""
    low, high = score_range
    if scaling == "affine":
        return (score - low) / (high - low)
    if scaling == "sigmoid":
        return torch.sigmoid(4 * (score - (low + high) / 2) / (high - low))
    return score


def _as_float(tensor: Tensor, device: Any, dtype: torch.dtype) -> Tensor:
    wider = torch.float64 if dtype == torch.float64 else torch.float32
    return tensor.to(device, wider if tensor.is_floating_point() else tensor.dtype)


def _mirrored(pixels: Tensor, room: int, dim: int) -> Tensor:
    """`room` more pixels at both ends. `F.pad` would do, but is not deterministic on CUDA."""
    first = pixels.narrow(dim, 1, room).flip(dim)
    last = pixels.narrow(dim, pixels.shape[dim] - 1 - room, room).flip(dim)
    return torch.cat([first, pixels, last], dim)


def check_range(pictures: Tensor, low: float, high: float) -> None:
    """Accepts the overshoot of a decoder; pictures in another range differ by far more.

    Raises:
        InputError: the values seem to be 0–255. Values that seem to be 0–1, or −1–1, are warned of.
    """
    if not pictures.numel():
        return
    least, most = torch.stack(pictures.aminmax()).tolist()
    span = high - low
    if not (math.isfinite(least) and math.isfinite(most)):
        raise InputError("Pictures hold values that are NaN or infinite.")
    if most > high + 9 * span:
        raise InputError(
            f"The pictures' values reach {most:g}, and input_range is ({low:g}, {high:g}): divide "
            "0–255 by 255, or give input_range=(0, 255)."
        )
    if (low, high) != (0, 1) and least >= 0 and most <= 1 and most - least > 0.5:
        warnings.warn(
            f"Pictures have values from {least:g} to {most:g}, and input_range is ({low:g}, "
            f"{high:g}). Did you mean input_range=(0, 1)?",
            stacklevel=3,
        )
    if least < low - 0.25 * span:
        warnings.warn(
            f"Pictures have values down to {least:g}, below input_range ({low:g}, {high:g}); they "
            "are clipped. Did you mean input_range=(-1, 1)?",
            stacklevel=3,
        )
