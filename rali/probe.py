"""Pictures that try a scorer: what is no photograph, artefacts on good ones, and what was made to
please it.

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

from .degradations import degrade
from .rewards import RaliReward
from .rewards.judge import judge, pictures_of

SIZE = 512
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
        pictures: uint8 [H, W, 3], to look at.
    """

    group: str
    name: str
    score: float
    highest: float
    guarded: float
    reference: float
    passed: bool | None
    note: str = ""
    pictures: tuple[np.ndarray, ...] = field(default=(), repr=False, compare=False)


def probe(
    reward: RaliReward,
    photographs: Sequence[np.ndarray],
    *,
    guards: dict[str, Any] | None = None,
    seed: int = 0,
    steps: int = STEPS,
    report: Callable[[str, int, int], None] = lambda what, done, count: None,
) -> list[Probed]:
    """Every probe of a model.

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
    found = [_probed(trial, "photographs", given, squares, own, median, None, "their median")]
    for done, (name, run) in enumerate(_GROUPS):
        report(name, done, len(_GROUPS))
        found += run(trial)
    return found


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


def square(rgb: np.ndarray, size: int = SIZE) -> np.ndarray:
    """The centre at `size` × `size`: uint8 [size, size, 3]."""
    height, width = rgb.shape[:2]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    image = Image.fromarray(np.ascontiguousarray(rgb[top : top + edge, left : left + edge]))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


# --- what is no photograph ------------------------------------------------------------------------


def non_photographs(seed: int = 0, size: int = SIZE) -> dict[str, list[np.ndarray]]:
    """By name, uint8 [size, size, 3] each: patterns that a camera does not take."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]

    def grey(values: np.ndarray) -> np.ndarray:
        levels = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
        return np.repeat(levels[..., None], 3, -1) if levels.ndim == 2 else levels

    colours = ((0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0.8, 0))
    return {
        "constant colours": [grey(np.broadcast_to(c, (size, size, 3))) for c in np.array(colours)],
        "uniform noise": [
            grey(generator.random((size, size, 3))),
            grey(generator.random((size, size))),
        ],
        "Gaussian noise": [
            grey(0.5 + deviation * generator.standard_normal((size, size, 3)))
            for deviation in (0.05, 0.15, 0.3)
        ],
        "checkerboards": [grey((x // edge + y // edge) % 2.0) for edge in (1, 2, 4, 8, 16, 32, 64)],
        "gradients": [
            grey(x / (size - 1)),
            grey(y / (size - 1)),
            grey(np.hypot(x - size / 2, y - size / 2) / size),
            grey(np.stack([x, y, size - 1 - x], -1) / (size - 1)),
        ],
        "single-pixel lines": [
            grey(lines % every < 1.0) for every in (2, 4, 8, 16) for lines in (x, y, x + y)
        ],
        "text screens": [_text(generator, dark, size) for dark in (False, True)],
    }


def other_patterns(seed: int = 0, size: int = SIZE) -> dict[str, list[np.ndarray]]:
    """Further ones, of kinds that the built-in model was not taught to score low."""
    generator = np.random.default_rng((seed, 1))
    y, x = np.mgrid[:size, :size] / size

    def rgb(values: np.ndarray) -> np.ndarray:
        levels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
        return np.repeat(levels[..., None], 3, -1) if levels.ndim == 2 else levels

    def clouds(cells: int) -> np.ndarray:
        coarse = rgb(generator.random((cells, cells, 3)))
        return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))

    rectangles = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(rectangles)
    for left, top in generator.integers(0, size, (60, 2)).tolist():
        right, bottom = (
            left + int(generator.integers(8, 200)),
            top + int(generator.integers(8, 200)),
        )
        draw.rectangle((left, top, right, bottom), tuple(generator.integers(0, 256, 3).tolist()))
    modules = generator.integers(0, 2, (32, 32)).repeat(size // 32, 0).repeat(size // 32, 1)
    squared = (x - 0.5) ** 2 + (y - 0.5) ** 2
    return {
        "zone plates": [
            rgb(0.5 + 0.5 * np.cos(rings * squared)) for rings in range(150, 3000, 300)
        ],
        "clouds of colour": [clouds(cells) for cells in (4, 16, 64)],
        "rectangles": [np.asarray(rectangles)],
        "code of squares": [rgb(modules.astype(float))],
    }


def _text(generator: np.random.Generator, dark: bool, size: int) -> np.ndarray:
    ink, paper = ("white", "black") if dark else ("black", "white")
    image = Image.new("RGB", (size, size), paper)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(14)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz      0123456789"))
    for top in range(6, size - 14, 19):
        draw.text((8, top), "".join(generator.choice(letters, 62)), ink, font)
    return np.asarray(image)


def _try_non_photographs(trial: _Trial) -> Iterator[Probed]:
    patterns = non_photographs(trial.seed) | other_patterns(trial.seed)
    for name, pictures in patterns.items():
        yield _below("no photograph", name, trial, pictures, trial.median, "below the median")


# --- composites and artefacts ---------------------------------------------------------------------


def mosaic(photographs: Sequence[np.ndarray], count: int) -> np.ndarray:
    """count × count photographs, each shrunk: uint8 [SIZE, SIZE, 3]."""
    edge = SIZE // count
    tiles = [square(photographs[n % len(photographs)], edge) for n in range(count * count)]
    rows = [np.concatenate(tiles[n : n + count], 1) for n in range(0, len(tiles), count)]
    return square(np.concatenate(rows, 0))


def artefacts(rgb: np.ndarray) -> dict[str, np.ndarray]:
    """By name, what reward-hacked generators lay over their pictures."""
    size = rgb.shape[0]
    y, x = np.mgrid[:size, : rgb.shape[1]]

    def lay(pattern: np.ndarray, strength: float) -> np.ndarray:
        values = rgb + 255 * strength * (pattern - pattern.mean())[..., None]
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)

    dots = (np.cos(2 * np.pi * x / 6) + np.cos(2 * np.pi * y / 6)) / 4 + 0.5
    return {
        "fine grid": lay(((x % 8 < 1) | (y % 8 < 1)).astype(float), 0.15),
        "two-pixel grid": lay(((x + y) % 2).astype(float), 0.1),
        "halftone": lay(dots, 0.25),
        "diagonal hatching": lay(((x + y) % 6 < 2).astype(float), 0.15),
    }


def _try_mosaics(trial: _Trial) -> Iterator[Probed]:
    best = float(trial.scores.max())
    for count in (2, 4, 8):
        pictures = [mosaic(trial.photographs, count)]
        note = "no higher than the best of them"
        yield _below("mosaic", f"{count} × {count} good photographs", trial, pictures, best, note)


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
    group: str, name: str, trial: _Trial, pictures: list[np.ndarray], limit: float, note: str
) -> Probed:
    scores = judge(trial.reward, pictures).numpy()
    passed = float(scores.max()) < limit
    return _probed(trial, group, name, pictures, scores, limit, passed, note)


def _probed(
    trial: _Trial, group: str, name: str, pictures: Sequence[np.ndarray], scores: np.ndarray,
    reference: float, passed: bool | None, note: str,
) -> Probed:  # fmt: skip
    guarded = judge(trial.guarded, pictures).max().item()
    shown = (pictures[int(scores.argmax())],)
    mean, highest = float(scores.mean()), float(scores.max())
    return Probed(group, name, mean, highest, guarded, reference, passed, note, shown)


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
            yield Probed("adversary", name, after, after, fooled, before, passed, note, (free,))
            held, _, climbed = ascend(
                trial.guarded, start, steps=trial.steps, smoothness=smoothness
            )
            # In plain scores: to leave the penalty for being far from the bases is no gain.
            after = judge(trial.reward, [held]).item()
            note = f"gain {after - before:+.2f}, of {gain:+.2f} without guards; wanted half or less"
            passed = None if gain < LEAST_GAIN else after - before <= gain / 2
            name = f"{name}, against guards"
            yield Probed("adversary", name, after, after, climbed, before, passed, note, (held,))


_GROUPS: tuple[tuple[str, Callable[[_Trial], Iterator[Probed]]], ...] = (
    ("no photograph", _try_non_photographs),
    ("mosaics", _try_mosaics),
    ("artefacts", _try_artefacts),
    ("pairs", _try_pairs),
    ("adversaries", _try_adversaries),
)


# --- what comes with it ---------------------------------------------------------------------------


def sample_photographs() -> list[np.ndarray]:
    """The photographs that scikit-learn and scikit-image bring along: uint8 [H, W, 3] each."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    names = ("astronaut", "chelsea", "coffee", "rocket")
    return [*load_sample_images().images, *(getattr(data, name)() for name in names)]


def contact_sheet(probed: Sequence[Probed], columns: int = 6) -> Image.Image:
    """A picture of each probe, with its name and its score."""
    edge, text = 192, 60
    shown = [each for each in probed if each.pictures]
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * (edge + 8), rows * (edge + text)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for n, each in enumerate(shown):
        left, top = n % columns * (edge + 8) + 4, n // columns * (edge + text)
        sheet.paste(Image.fromarray(square(each.pictures[0], edge)), (left, top + 2))
        score = f"{each.highest:.2f}" + {True: "", False: "  FAILED", None: ""}[each.passed]
        name = each.name.replace("×", "by")  # which Pillow's font lacks
        for line, words in enumerate([*wrap(name, 30)[:2], score]):
            colour = "#b00020" if each.passed is False else "black"
            draw.text((left, top + edge + 4 + 16 * line), words, colour, font)
    return sheet
