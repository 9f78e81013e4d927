"""A scorer tried with what is no photograph, with artefacts, and with what was made to please it.

A score that a generator is rewarded with will be looked for everywhere, not only among photographs.
Each probe makes pictures, has them scored, and says whether the scores are what they should be.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from rali.pictures.degrade import degrade
from rali.pictures.patterns import artefacts, mosaic, non_photographs, other_patterns, square

from . import RaliReward
from .no_grad import judge, pictures_of

GUARDS: dict[str, Any] = {"caution": 1.0, "cutoff": "familiar"}
STEPS, RATE = 100, 0.01  # of the ascent: Adam's, on values from 0 to 1
SMOOTHNESS = 20.0  # weight of the total variation, mean per value, where it is limited
LEAST_GAIN = 0.1  # of an adversary, for guards to be of use
REENCODED = 0.25  # how far a score may go with a picture that looks the same


@dataclass(frozen=True)
class Probed:
    """One line of the table.

    Attributes:
        group, name: what was tried.
        score: the mean of its pictures; highest: the highest; guarded: the highest with guards.
        reference: what it is compared with, without guards.
        passed: None where there is nothing to pass.
        note: what passing means, or more numbers.
        picture: one of them, uint8 [H, W, 3].
    """

    group: str
    name: str
    score: float
    highest: float
    guarded: float
    reference: float
    passed: bool | None
    note: str
    picture: np.ndarray = field(repr=False, compare=False)


def probe(
    reward: RaliReward,
    photographs: Sequence[np.ndarray],
    *,
    guards: dict[str, Any] | None = None,
    seed: int = 0,
    steps: int = STEPS,
    report: Callable[[str, int, int], None] = lambda what, done, count: None,
) -> Iterator[Probed]:
    """Every probe of a model, one after the other.

    Args:
        reward: without guards.
        photographs: good ones, uint8 [H, W, 3], which the model was not trained on.
        guards: options of `RaliReward` that an adversary is tried against; GUARDS by default.
        report: called with (what is tried, probes done, probes).
    """
    squares = [square(rgb) for rgb in photographs]
    own = judge(reward, squares).numpy()
    median = float(np.median(own))
    guards = dict(guards or GUARDS)
    if guards.get("cutoff") == "familiar" and not reward.student.config.familiar:
        guards["cutoff"] = _farthest(reward, squares)
    guarded = RaliReward(reward.student, reward.input_range, **guards)
    trial = _Trial(reward, guarded, squares, own, median, seed, steps)
    given = f"{len(squares)} given"
    yield _probed(trial, "photographs", given, squares, own, median, None, "their median")
    for done, (name, run) in enumerate(_GROUPS):
        report(name, done, len(_GROUPS))
        yield from run(trial)


@torch.no_grad()
def _farthest(reward: RaliReward, photographs: Sequence[np.ndarray]) -> float:
    """The distance from the bases that 99 % of these photographs keep within."""
    low, high = reward.input_range
    pictures = [low + (high - low) * each[None] for each in pictures_of(photographs)]
    distances = [reward.distance(each.to(reward.mean.device)) for each in pictures]
    return torch.cat(distances).quantile(0.99).item()


@dataclass(frozen=True)
class _Trial:
    reward: RaliReward
    guarded: RaliReward
    photographs: list[np.ndarray]
    scores: np.ndarray
    median: float
    seed: int
    steps: int


# --- what is no photograph, and what is laid over one ---------------------------------------------


def _try_non_photographs(trial: _Trial) -> Iterator[Probed]:
    patterns = non_photographs(trial.seed) | other_patterns(trial.seed)
    for name, pictures in patterns.items():
        yield _below(trial, "no photograph", name, pictures, trial.median, "below the median")


def _try_mosaics(trial: _Trial) -> Iterator[Probed]:
    best = float(trial.scores.max())
    for count in (2, 4, 8):
        pictures = [mosaic(trial.photographs, count)]
        note = "no higher than the best of them"
        yield _below(trial, "mosaic", f"{count} × {count} good photographs", pictures, best, note)


def _try_artefacts(trial: _Trial) -> Iterator[Probed]:
    chosen = trial.photographs[:: max(1, len(trial.photographs) // 8)][:8]
    before = judge(trial.reward, chosen).numpy()
    made = [artefacts(rgb) for rgb in chosen]
    for name in made[0]:
        pictures = [each[name] for each in made]
        after = judge(trial.reward, pictures).numpy()
        share = float((after < before).mean())
        yield _probed(
            trial, "artefact", f"{name} over good photographs", pictures, after,
            float(before.mean()), share >= 0.9, f"lower in {share:.0%}, wanted 90 %",
        )  # fmt: skip


def _try_pairs(trial: _Trial) -> Iterator[Probed]:
    chosen = trial.photographs[:: max(1, len(trial.photographs) // 16)][:16]
    before = judge(trial.reward, chosen).numpy()
    kinds: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "JPEG, quality 95": lambda rgb: _encoded(rgb, "JPEG", quality=95),
        "WebP, quality 95": lambda rgb: _encoded(rgb, "WEBP", quality=95),
        "enlarged to 768": lambda rgb: square(rgb, 768),
    }
    for name, change in kinds.items():
        pictures = [change(rgb) for rgb in chosen]
        after = judge(trial.reward, pictures).numpy()
        off = float(np.abs(after - before).mean())
        yield _probed(
            trial, "looks the same", name, pictures, after, float(before.mean()),
            off <= REENCODED, f"moves by {off:.2f}, at most {REENCODED}",
        )  # fmt: skip


def _encoded(rgb: np.ndarray, kind: str, **options: Any) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, kind, **options)
    return np.asarray(Image.open(buffer).convert("RGB"))


def _below(
    trial: _Trial, group: str, name: str, pictures: list[np.ndarray], limit: float, note: str
) -> Probed:
    scores = judge(trial.reward, pictures).numpy()
    passed = float(scores.max()) < limit
    return _probed(trial, group, name, pictures, scores, limit, passed, note)


def _probed(
    trial: _Trial, group: str, name: str, pictures: Sequence[np.ndarray], scores: np.ndarray,
    reference: float, passed: bool | None, note: str,
) -> Probed:  # fmt: skip
    guarded = judge(trial.guarded, pictures).max().item()
    mean, highest = float(scores.mean()), float(scores.max())
    best = pictures[int(scores.argmax())]
    return Probed(group, name, mean, highest, guarded, reference, passed, note, best)


# --- what was made to please it -------------------------------------------------------------------


def ascend(
    reward: RaliReward, rgb: np.ndarray, *, steps: int = STEPS, smoothness: float = 0.0
) -> tuple[np.ndarray, float, float]:
    """Climb the reward from a picture: the picture it ends at, and the reward before and after.

        max_x  reward(x) − λ · mean |∇x|

    Of the pictures on the way it is the one where this is largest.

    Args:
        rgb: uint8 [H, W, 3]. smoothness: λ, of the total variation.
    """
    start = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].to(reward.mean.device) / 255
    picture = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([picture], lr=RATE)
    low, high = reward.input_range
    best, least = start, math.inf
    for step in range(steps + 1):
        optimizer.zero_grad()
        rewards = reward(low + (high - low) * picture)
        loss = smoothness * _variation(picture) - rewards.sum()
        if loss < least:
            best, least = picture.detach().clone(), loss.item()
        if step == steps:
            break
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            picture.clamp_(0, 1)
    levels = (best[0].permute(1, 2, 0) * 255).round().to(torch.uint8).cpu().numpy()
    before, after = judge(reward, [rgb, levels]).tolist()
    return levels, before, after


def _variation(picture: Tensor) -> Tensor:
    down, across = picture.diff(dim=-2), picture.diff(dim=-1)
    return down.abs().mean() + across.abs().mean()


def _try_adversaries(trial: _Trial) -> Iterator[Probed]:
    noise = non_photographs(trial.seed)["uniform noise"][0]
    blurred = [degrade(rgb, "blur", 3, seed=trial.seed) for rgb in trial.photographs[:2]]
    starts = (("noise", noise), *(("a blurred photograph", rgb) for rgb in blurred))
    for origin, start in starts:
        for smoothness in (0.0, SMOOTHNESS):
            free, before, after = ascend(
                trial.reward, start, steps=trial.steps, smoothness=smoothness
            )
            limited = ", total variation limited" if smoothness else ""
            name = f"{trial.steps} steps from {origin}{limited}"
            gain = after - before
            was, fooled = judge(trial.guarded, [start, free]).tolist()
            note = f"gain {gain:+.2f}; the guards see {fooled - was:+.2f}, wanted half or less"
            passed = None if gain < LEAST_GAIN else fooled - was <= gain / 2
            yield Probed("adversary", name, after, after, fooled, before, passed, note, free)
            held, _, climbed = ascend(
                trial.guarded, start, steps=trial.steps, smoothness=smoothness
            )
            # In plain scores: to leave the penalty for being far from the bases is no gain.
            after = judge(trial.reward, [held]).item()
            note = f"gain {after - before:+.2f}, of {gain:+.2f} without guards; wanted half or less"
            passed = None if gain < LEAST_GAIN else after - before <= gain / 2
            name = f"{name}, against guards"
            yield Probed("adversary", name, after, after, climbed, before, passed, note, held)


_GROUPS: tuple[tuple[str, Callable[[_Trial], Iterator[Probed]]], ...] = (
    ("no photograph", _try_non_photographs),
    ("mosaics", _try_mosaics),
    ("artefacts", _try_artefacts),
    ("pairs", _try_pairs),
    ("adversaries", _try_adversaries),
)


# --- what comes with it ---------------------------------------------------------------------------


def contact_sheet(probed: Sequence[Probed], columns: int = 6) -> Image.Image:
    """A picture of each probe, with its name and its score."""
    edge, text = 192, 60
    rows = -(-len(probed) // columns)
    sheet = Image.new("RGB", (columns * (edge + 8), rows * (edge + text)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for n, each in enumerate(probed):
        left, top = n % columns * (edge + 8) + 4, n // columns * (edge + text)
        sheet.paste(Image.fromarray(square(each.picture, edge)), (left, top + 2))
        score = f"{each.highest:.2f}" + {True: "", False: "  FAILED", None: ""}[each.passed]
        name = each.name.replace("×", "by")  # which Pillow's font lacks
        for line, words in enumerate([*wrap(name, 30)[:2], score]):
            colour = "#b00020" if each.passed is False else "black"
            draw.text((left, top + edge + 4 + 16 * line), words, colour, font)
    return sheet
