"""Probes of a reward: patterns that are no photograph, artefacts, and adversaries.

A generator that is rewarded with a score looks for it everywhere, not only among photographs. Each
probe makes pictures, scores them, and tells whether the scores are as they should be.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from rali.pictures.degrade import degrade
from rali.pictures.patterns import (
    SIZE,
    artefacts,
    mosaic,
    non_photographs,
    other_patterns,
    square,
)
from rali.runs.progress import Progress, silent

from .gradients import STEPS, ascend, field_of_view
from .no_grad import rewards_of
from .pictures import pictures_of
from .reward import RaliReward

GUARDS: dict[str, Any] = {"caution": 1.0, "cutoff": "familiar"}
SMOOTHNESS = 20.0  # weight of the total variation, mean per value, where it is limited
LEAST_GAIN = 0.1  # guards are tested only against adversaries that gain this much
REENCODED = 0.1  # how far a score may move between pictures that look the same
LOWERED = 0.95  # share of good photographs whose score an artefact has to lower
WIDE = 9 / 16  # the shorter edge of the pictures that the field of view is measured on
RADII = {4: 0.5, 8: 0.7}  # largest change of a value, in 255ths, and the gain that it may bring
GUARDED_GAIN = 0.3  # the gain that the guards may see of such a change


@dataclass(frozen=True)
class Probe:
    """One line of the table.

    Attributes:
        group, name: what was tried.
        score: mean score of the pictures. highest: their highest score.
        guarded: their highest score with guards.
        reference: the score that they are compared with, without guards.
        passed: None where there is no verdict.
        note: what passing means, or more numbers.
        picture: one of the pictures, uint8 [H, W, 3].
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
    size: int = SIZE,
    progress: Progress = silent,
) -> Iterator[Probe]:
    """Every probe of a model, one after the other.

    Args:
        reward: without guards.
        photographs: good ones, uint8 [H, W, 3], that the model was not trained on.
        guards: options of `RaliReward` that adversaries are tried against; by default `GUARDS`.
        seed: seed of the noise and text in patterns.
        steps: steps of an adversary's ascent.
        size: edge, in pixels, of the pictures that are tried.
    """
    squares = [square(rgb, size) for rgb in photographs]
    scores = rewards_of(reward, squares).numpy()
    median = float(np.median(scores))
    guards = dict(guards or GUARDS)
    if guards.get("cutoff") == "familiar" and not reward.student.config.familiar:
        guards["cutoff"] = _farthest(reward, squares)
    guarded = RaliReward(reward.student, reward.input_range, **guards)
    trial = _Trial(reward, guarded, squares, scores, median, seed, steps, size)
    given = f"{len(squares)} given"
    yield _probe(trial, "photographs", given, squares, scores, median, None, "their median")
    for name, run in _GROUPS:
        progress(name, 0, 1)
        yield from run(trial)
        progress(name, 1, 1)


@torch.no_grad()
def _farthest(reward: RaliReward, photographs: Sequence[np.ndarray]) -> float:
    """The distance from the bases within which 99 % of these photographs lie."""
    low, high = reward.input_range
    pictures = [low + (high - low) * each[None] for each in pictures_of(photographs)]
    distances = [reward.distance(each.to(reward.mean.device)) for each in pictures]
    return torch.cat(distances).quantile(0.99).item()


@dataclass(frozen=True)
class _Trial:
    """A model, with and without guards, and the photographs it is tried with, already scored."""

    reward: RaliReward
    guarded: RaliReward
    photographs: list[np.ndarray]
    scores: np.ndarray
    median: float
    seed: int
    steps: int
    size: int


# --- patterns that are no photograph, and photographs that were changed --------------------------


def _try_non_photographs(trial: _Trial) -> Iterator[Probe]:
    patterns = non_photographs(trial.seed, trial.size)
    patterns |= other_patterns(trial.seed, trial.size)
    for name, pictures in patterns.items():
        yield _below(trial, "no photograph", name, pictures, trial.median, "below the median")


def _try_mosaics(trial: _Trial) -> Iterator[Probe]:
    best = float(trial.scores.max())
    for count in (2, 4, 8):
        pictures = [mosaic(trial.photographs, count, trial.size)]
        note = "no higher than the best of them"
        yield _below(trial, "mosaic", f"{count} × {count} good photographs", pictures, best, note)


def _try_artefacts(trial: _Trial) -> Iterator[Probe]:
    chosen = trial.photographs[:: max(1, len(trial.photographs) // 8)][:8]
    before = rewards_of(trial.reward, chosen).numpy()
    made = [artefacts(rgb) for rgb in chosen]
    for name in made[0]:
        pictures = [each[name] for each in made]
        after = rewards_of(trial.reward, pictures).numpy()
        share = float((after < before).mean())
        yield _probe(
            trial, "artefact", f"{name} over good photographs", pictures, after,
            float(before.mean()), share >= LOWERED, f"lower in {share:.0%}, wanted {LOWERED:.0%}",
        )  # fmt: skip


def _try_field_of_view(trial: _Trial) -> Iterator[Probe]:
    """Noise in the outer sixths of wide and tall pictures, which a middle square would not see."""
    chosen = trial.photographs[:: max(1, len(trial.photographs) // 8)][:8]
    noise = non_photographs(trial.seed, trial.size)["uniform noise"][0]
    high, side = round(trial.size * WIDE), trial.size // 6
    for name, turned in (("16:9, noise at both sides", False), ("9:16, noise at both ends", True)):
        wide = [rgb[(trial.size - high) // 2 :][:high] for rgb in chosen]
        noisy = [rgb.copy() for rgb in wide]
        for rgb in noisy:
            rgb[:, :side], rgb[:, -side:] = noise[:high, :side], noise[:high, -side:]
        if turned:
            wide, noisy = ([each.transpose(1, 0, 2) for each in some] for some in (wide, noisy))
        before = rewards_of(trial.reward, wide).numpy()
        after = rewards_of(trial.reward, noisy).numpy()
        share = float((after < before).mean())
        seen = min(field_of_view(reward, wide[0]) for reward in (trial.reward, trial.guarded))
        yield _probe(
            trial, "field of view", name, noisy, after, float(before.mean()),
            seen == 1,
            f"gradients in {seen:.0%} of the longer edge, wanted 100%; lower in {share:.0%}",
        )  # fmt: skip


def _try_pairs(trial: _Trial) -> Iterator[Probe]:
    chosen = trial.photographs[:: max(1, len(trial.photographs) // 16)][:16]
    larger = trial.size * 3 // 2
    before = rewards_of(trial.reward, chosen).numpy()
    kinds: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "JPEG, quality 95": lambda rgb: _encoded(rgb, "JPEG", quality=95),
        "WebP, quality 95": lambda rgb: _encoded(rgb, "WEBP", quality=95),
        f"enlarged to {larger}": lambda rgb: square(rgb, larger),
    }
    for name, change in kinds.items():
        pictures = [change(rgb) for rgb in chosen]
        after = rewards_of(trial.reward, pictures).numpy()
        off = float(np.abs(after - before).mean())
        yield _probe(
            trial, "looks the same", name, pictures, after, float(before.mean()),
            off <= REENCODED, f"moves by {off:.2f}, at most {REENCODED}",
        )  # fmt: skip


def _encoded(rgb: np.ndarray, form: str, **options: Any) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, form, **options)
    return np.asarray(Image.open(buffer).convert("RGB"))


def _below(
    trial: _Trial, group: str, name: str, pictures: list[np.ndarray], limit: float, note: str
) -> Probe:
    scores = rewards_of(trial.reward, pictures).numpy()
    passed = float(scores.max()) < limit
    return _probe(trial, group, name, pictures, scores, limit, passed, note)


def _probe(
    trial: _Trial, group: str, name: str, pictures: Sequence[np.ndarray], scores: np.ndarray,
    reference: float, passed: bool | None, note: str,
) -> Probe:  # fmt: skip
    guarded = rewards_of(trial.guarded, pictures).max().item()
    mean, highest = float(scores.mean()), float(scores.max())
    best = pictures[int(scores.argmax())]
    return Probe(group, name, mean, highest, guarded, reference, passed, note, best)


# --- adversaries ---------------------------------------------------------------------------------


def _try_adversaries(trial: _Trial) -> Iterator[Probe]:
    noise = non_photographs(trial.seed, trial.size)["uniform noise"][0]
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
            was, fooled = rewards_of(trial.guarded, [start, free]).tolist()
            note = f"gain {gain:+.2f}; the guards see {fooled - was:+.2f}, wanted half or less"
            passed = None if gain < LEAST_GAIN else fooled - was <= gain / 2
            yield Probe("adversary", name, after, after, fooled, before, passed, note, free)
            held, _, climbed = ascend(
                trial.guarded, start, steps=trial.steps, smoothness=smoothness
            )
            # In plain scores: coming back from beyond the cutoff is no gain.
            after = rewards_of(trial.reward, [held]).item()
            note = f"gain {after - before:+.2f}, of {gain:+.2f} without guards; wanted half or less"
            passed = None if gain < LEAST_GAIN else after - before <= gain / 2
            name = f"{name}, against guards"
            yield Probe("adversary", name, after, after, climbed, before, passed, note, held)
    near = [("a blurred photograph", blurred), ("a good photograph", trial.photographs[:2])]
    for radius, most in RADII.items():
        for origin, starts_near in near:
            yield _climb_near(trial, origin, starts_near, radius, most)


def _climb_near(
    trial: _Trial, origin: str, starts: Sequence[np.ndarray], radius: int, most: float
) -> Probe:
    """The probe of changes that people hardly see."""
    climbed = [ascend(trial.reward, rgb, steps=trial.steps, radius=radius / 255) for rgb in starts]
    held = [ascend(trial.guarded, rgb, steps=trial.steps, radius=radius / 255) for rgb in starts]
    pictures, before, after = zip(*climbed, strict=True)
    gain = max(np.subtract(after, before))
    guarded = max(end - begin for _, begin, end in held)
    note = (
        f"largest gain {gain:+.2f}, wanted {most} at most; against guards {guarded:+.2f}, wanted "
        f"{GUARDED_GAIN} at most"
    )
    return Probe(
        "adversary", f"{trial.steps} steps from {origin}, within {radius}/255",
        float(np.mean(after)), max(after), max(end for *_, end in held), float(np.mean(before)),
        bool(gain <= most and guarded <= GUARDED_GAIN), note, pictures[int(np.argmax(after))],
    )  # fmt: skip


_GROUPS: tuple[tuple[str, Callable[[_Trial], Iterator[Probe]]], ...] = (
    ("no photograph", _try_non_photographs),
    ("mosaics", _try_mosaics),
    ("artefacts", _try_artefacts),
    ("field of view", _try_field_of_view),
    ("pairs", _try_pairs),
    ("adversaries", _try_adversaries),
)


def contact_sheet(probes: Sequence[Probe], columns: int = 6) -> Image.Image:
    """One picture of each probe, with its name and score."""
    edge, text = 192, 60
    rows = -(-len(probes) // columns)
    sheet = Image.new("RGB", (columns * (edge + 8), rows * (edge + text)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for n, each in enumerate(probes):
        left, top = n % columns * (edge + 8) + 4, n // columns * (edge + text)
        sheet.paste(Image.fromarray(square(each.picture, edge)), (left, top + 2))
        score = f"{each.highest:.2f}" + {True: "", False: "  FAILED", None: ""}[each.passed]
        name = each.name.replace("×", "by")  # Pillow's font has no ×
        for line, words in enumerate([*wrap(name, 30)[:2], score]):
            colour = "#b00020" if each.passed is False else "black"
            draw.text((left, top + edge + 4 + 16 * line), words, colour, font)
    return sheet
