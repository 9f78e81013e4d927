"""The built-in student's training data: manifests and their pictures.

    python recipes/weights/builtin_data.py --data DIR -o OUT

DIR holds `biq2021/`, `biq2021_more/` and `pristine/`. Kodak's photographs, PCUID and the training
photographs that are near-identical to a held-out one are left out. OUT gets

- biq2021.csv: human scores, with the further photographs of `biq2021_more` in its train split;
- degraded.csv: twelve degradations of gb82's, CLIC's and Unsplash's photographs and of the best
  of BIQ2021's train photographs, with KADID-10k's mean human scores, shrunk to end at the
  photograph's own score in BIQ2021's scale, where people rarely give more than 4.3;
- composed.csv: the same photographs changed in other ways (`CHANGES`), whose scores are this file's
  own judgement: faults one after the other, faults in a part of the picture, grids laid over it,
  and changes that people hardly see;
- patterns.csv: what no camera takes, with score 1.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from rali.data.degraded import degrade_folder, degraded_score
from rali.data.importers import biq2021
from rali.data.manifest import Row, write_manifest
from rali.data.splits import assign_splits
from rali.distill.learn_phrases import best_photographs
from rali.pictures.degrade import KINDS, degrade
from rali.pictures.patterns import non_photographs
from rali.pictures.preprocess import shrink
from rali.pictures.read import open_picture

SIZE = 512
PER_PHOTOGRAPH = {"pristine": 16, "biq2021": 4}
BEST = 250  # photographs of BIQ2021
EXCELLENT = 4.3  # what a pristine photograph would get in BIQ2021
PATTERN_SEEDS = range(1, 7)  # `rali probe` draws its patterns with seed 0
PATTERNS_DRAWN = 160
GREY_COSTS = 0.4  # a photograph without its colours is judged as a photograph


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    data, output = arguments.data, arguments.output
    output.mkdir(parents=True, exist_ok=True)
    labelled = human_scores(data)
    write_manifest(labelled, output / "biq2021.csv")
    rows = degraded(data, labelled, output)
    write_manifest(rows, output / "degraded.csv")
    plain = [row for row in rows if not row.severity]
    write_manifest(composed(plain, output / "composed"), output / "composed.csv")
    write_manifest(patterns(output / "patterns"), output / "patterns.csv")


def human_scores(data: Path) -> list[Row]:
    """BIQ2021's rows, without the training photographs that are twins of held-out ones."""
    twins = set((data / "biq2021" / "train_near_held_out.txt").read_text("utf-8").splitlines())
    rows = [*biq2021.read(data / "biq2021"), *biq2021.read(data / "biq2021_more")]
    return [row for row in rows if row.split != "train" or row.image.name not in twins]


def degraded(data: Path, labelled: list[Row], output: Path) -> list[Row]:
    """Degraded pictures: the pristine ones split 85:15 into train and val, BIQ2021's all train."""
    pristine = [p for p in sorted((data / "pristine").glob("*.jpg")) if "kodak" not in p.name]
    rows = degrade_folder(
        pristine, output / "pristine", size=SIZE, per_photograph=PER_PHOTOGRAPH["pristine"]
    )
    rows = [worth(row, EXCELLENT) for row in assign_splits(rows, (85, 15, 0))]
    train = [row for row in labelled if row.split == "train"]
    score_of = {row.image: row.score or 0.0 for row in train}
    each = best_photographs(train, len(train))
    best = sorted(each, key=lambda path: -score_of[path])[:BEST]
    best_score = {path.stem: score_of[path] for path in best}
    for row in degrade_folder(
        best, output / "biq2021", size=SIZE, per_photograph=PER_PHOTOGRAPH["biq2021"]
    ):
        rows.append(dataclasses.replace(worth(row, best_score[row.content]), split="train"))
    return rows


def worth(row: Row, undegraded: float) -> Row:
    """The row with the score of its degradation, if the photograph itself has `undegraded`."""
    share = ((row.score or 1.0) - 1) / 4
    score = 1 + share * (undegraded - 1)
    if (row.distortion, row.severity) == ("saturate weaken", 5):
        score = max(score, undegraded - GREY_COSTS)
    return dataclasses.replace(row, score=round(score, 4), raw_score=None)


# --- changes beyond the twelve degradations ------------------------------------------------------

Change = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, float]]
"""A picture and a generator → the changed picture, and the share of its quality that is left."""


def several_faults(rgb: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, float]:
    """Two or three degradations one after the other."""
    left = 1.0
    for place in draw.choice(len(KINDS), draw.integers(2, 4), replace=False):
        name, severity = KINDS[place]
        rgb = degrade(rgb, name, severity, int(draw.integers(1 << 30)))
        left *= (degraded_score(name, severity) - 1) / 4
    return rgb, left


def as_a_poor_camera(rgb: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, float]:
    """Soft optics, sensor noise, denoising, sharpening, a resize and JPEG, as a telephone does."""
    worse = draw.random()  # 0: hardly to be seen; 1: bad
    values = ndimage.gaussian_filter(rgb.astype(np.float32), (0.3 + 1.2 * worse,) * 2 + (0,))
    grain = draw.standard_normal((*rgb.shape[:2], 1)) + 0.5 * draw.standard_normal(rgb.shape)
    values += grain * (2 + 18 * worse * draw.random())
    smooth = ndimage.median_filter(values, (3, 3, 1))
    values += draw.random() * (smooth - values)
    soft = ndimage.gaussian_filter(values, (1, 1, 0))
    values += (0.3 + 1.5 * draw.random()) * (values - soft)
    picture = Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    small = 1 - 0.5 * worse * draw.random()
    size = (round(picture.width * small), round(picture.height * small))
    picture = picture.resize(size, Image.Resampling.BICUBIC).resize(picture.size)
    return jpeg(np.asarray(picture), int(95 - 60 * worse)), 0.92 - 0.75 * worse


def fault_in_a_part(rgb: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, float]:
    """A strong fault in a rectangle or an ellipse of a twelfth to a half of the picture."""
    height, width = rgb.shape[:2]
    area = draw.uniform(1 / 12, 0.5)
    tall = min(1.0, np.sqrt(area) * draw.uniform(0.6, 1.7)) if draw.random() < 0.6 else 1.0
    wide = min(1.0, area / tall)
    if draw.random() < 0.3:
        tall, wide = wide, tall
    high, broad = max(8, int(tall * height)), max(8, int(wide * width))
    top, left = draw.integers(0, height - high + 1), draw.integers(0, width - broad + 1)
    mask = Image.new("L", (width, height))
    pen, box = ImageDraw.Draw(mask), (left, top, left + broad - 1, top + high - 1)
    (pen.ellipse if draw.random() < 0.3 else pen.rectangle)(tuple(map(int, box)), 255)
    inside = np.asarray(mask, np.float32)[..., None] / 255
    if draw.random() < 0.4:
        inside = ndimage.gaussian_filter(inside, (12, 12, 0))
    fault = draw.choice(["blur", "noise", "constant", "blocks", "mosaic"])
    if fault == "blur":
        bad = ndimage.gaussian_filter(rgb.astype(np.float32), (draw.uniform(3, 12),) * 2 + (0,))
    elif fault == "noise":
        bad = rgb + draw.uniform(25, 70) * draw.standard_normal(rgb.shape)
    elif fault == "constant":
        bad = np.broadcast_to(draw.choice([0.0, 0.0, 128.0, 255.0]), rgb.shape)
    elif fault == "blocks":
        bad = jpeg(rgb, int(draw.integers(2, 8)))
    else:
        bad = degrade(rgb, "pixelate", 5)
    mixed = rgb + inside * (np.clip(bad, 0, 255) - rgb)
    return np.rint(mixed).astype(np.uint8), 1 - 0.15 - 0.65 * float(inside.mean()) ** 0.6


def grid(rgb: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, float]:
    """A periodic pattern over the picture, as generators leave it: grids, dots, hatching."""
    y, x = np.mgrid[: rgb.shape[0], : rgb.shape[1]].astype(np.float32)
    period, strength = draw.integers(2, 13), draw.uniform(0.05, 0.3)
    kind = draw.choice(["checks", "lines", "dots", "hatching"])
    if kind == "checks":
        edge = max(1, period // 4)
        pattern = ((x // edge + y // edge) % 2).astype(np.float32)
    elif kind == "lines":
        pattern = np.asarray((x % period < 1) | (y % period < 1), np.float32)
    elif kind == "dots":
        pattern = (np.cos(2 * np.pi * x / period) + np.cos(2 * np.pi * y / period)) / 4 + 0.5
    else:
        pattern = np.asarray(
            (x + draw.choice([-1, 1]) * y) % period < max(1, period // 3), np.float32
        )
    values = rgb + 255 * strength * (pattern - pattern.mean())[..., None]
    left = max(0.05, 0.75 - 2.2 * strength)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8), left


def tiled(rgb: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, float]:
    """One patch of the picture, again and again."""
    edge = int(draw.integers(24, 129))
    top, left = draw.integers(0, rgb.shape[0] - edge), draw.integers(0, rgb.shape[1] - edge)
    patch = rgb[top : top + edge, left : left + edge]
    count = -(-SIZE // edge)
    return np.tile(patch, (count, count, 1))[: rgb.shape[0], : rgb.shape[1]], 0.05


def dim(rgb: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, float]:
    """Much too little light: values times 0.1 to 0.5."""
    factor = draw.uniform(0.1, 0.5)
    return np.rint(rgb * factor).astype(np.uint8), 0.2 + 1.0 * (factor - 0.1)


def hardly_seen(rgb: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, float]:
    """JPEG at high quality, or a resize to three quarters and more."""
    if draw.random() < 0.6:
        return jpeg(rgb, int(draw.integers(88, 98))), 1.0
    size = [round(edge * draw.uniform(0.75, 0.95)) for edge in rgb.shape[1::-1]]
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS)), 1.0


def without_colour(rgb: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, float]:
    """Black and white, some of it toned."""
    grey = np.asarray(Image.fromarray(rgb).convert("L"), np.float32)[..., None]
    tone = 1 + (draw.uniform(-0.08, 0.08, 3) if draw.random() < 0.3 else np.zeros(3))
    return np.clip(np.rint(grey * tone), 0, 255).astype(np.uint8), 1 - GREY_COSTS / 3.3


CHANGES: dict[str, tuple[Change, float]] = {  # and how many of a photograph, on average
    "several faults": (several_faults, 3),
    "a poor camera": (as_a_poor_camera, 2),
    "fault in a part": (fault_in_a_part, 2.5),
    "grid": (grid, 1.2),
    "tiled": (tiled, 0.3),
    "dim": (dim, 0.4),
    "hardly seen": (hardly_seen, 0.6),
    "without colour": (without_colour, 0.4),
}


def composed(plain: Sequence[Row], folder: Path) -> list[Row]:
    """The changes of each photograph; of BIQ2021's a third as many."""
    folder.mkdir(parents=True, exist_ok=True)

    def of(row: Row) -> list[Row]:
        rgb, rows = shrink(open_picture(row.image), longer=SIZE), []
        share = 1.0 if row.image.parent.name == "pristine" else 1 / 3
        for kind, (change, mean) in CHANGES.items():
            seed = zlib.crc32(f"{row.content}/{kind}".encode())
            draw = np.random.default_rng(seed)
            for number in range(int(mean * share + draw.random())):
                picture, left = change(rgb, draw)
                path = folder / f"{row.content}__{kind.replace(' ', '-')}__{number}.png"
                if not path.is_file():
                    Image.fromarray(picture).save(path, compress_level=1)
                score = round(1 + min(1.0, left) * ((row.score or 1) - 1), 4)
                rows.append(dataclasses.replace(
                    row, image=path.resolve(), score=score, dataset="composed",
                    reference="", distortion="", severity=None,
                ))  # fmt: skip
        return rows

    with ThreadPoolExecutor() as pool:
        return [row for rows in pool.map(of, plain) for row in rows]


def jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


# --- patterns ------------------------------------------------------------------------------------


def patterns(folder: Path) -> list[Row]:
    """What no camera takes: the kinds of `rali.pictures.patterns` in other ways, and drawn ones."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed, content, values in _patterns():
        path = folder / f"{content}.png"
        Image.fromarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)).save(path)
        split = "val" if seed == PATTERN_SEEDS[-1] else "train"
        rows.append(Row(path, score=1.0, dataset="patterns", content=content, split=split))
    return rows


def _patterns() -> Iterator[tuple[int, str, np.ndarray]]:
    """Seed, name and values 0–1 [SIZE, SIZE, 3]."""
    for seed in PATTERN_SEEDS:
        generator = np.random.default_rng(seed)
        for kind, pictures in non_photographs(seed, SIZE).items():
            for number, picture in enumerate(pictures):
                scale = int(generator.integers(1, 4)) if "noise" not in kind else 1
                made = np.roll(picture, generator.integers(0, SIZE, 2), (0, 1))
                made = made.repeat(scale, 0).repeat(scale, 1)[:SIZE, :SIZE] / 255
                if generator.random() < 0.6:  # between two colours in place of black and white
                    made = between(made, generator)
                yield seed, f"{kind.replace(' ', '-')}-{number}-{seed}", made
        for number in range(PATTERNS_DRAWN // len(PATTERN_SEEDS)):
            yield seed, f"drawn-{number}-{seed}", drawn(generator)


def between(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    low, high = generator.random((2, 3))
    return low + (high - low) * values


def drawn(generator: np.random.Generator) -> np.ndarray:
    """A zone plate, waves, clouds, shapes or squares, at a random place, scale and colour."""
    y, x = (np.mgrid[:SIZE, :SIZE] / SIZE - generator.random((2, 1, 1))) * generator.uniform(0.4, 1)
    kind = generator.integers(5)
    if kind == 0:
        made = 0.5 + 0.5 * np.cos(generator.uniform(100, 4000) * (x * x + y * y))
    elif kind == 1:
        angle = generator.uniform(0, np.pi, (3, 1, 1))
        waves = np.cos(
            generator.uniform(20, 900, (3, 1, 1)) * (x * np.cos(angle) + y * np.sin(angle))
        )
        made = 0.5 + 0.5 * waves[: generator.integers(1, 4)].mean(0)
    elif kind == 2:
        cells = int(generator.integers(2, 80))
        coarse = Image.fromarray((generator.random((cells, cells, 3)) * 255).astype(np.uint8))
        return np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC)) / 255
    elif kind == 3:
        image = Image.new("RGB", (SIZE, SIZE), tuple(generator.integers(0, 256, 3).tolist()))
        pen = ImageDraw.Draw(image)
        for left, top, right, bottom in generator.integers(-60, SIZE + 60, (50, 4)).tolist():
            box = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
            shape = pen.rectangle if generator.random() < 0.6 else pen.ellipse
            shape(box, tuple(generator.integers(0, 256, 3).tolist()))
        return np.asarray(image) / 255
    else:
        edge = int(generator.choice([4, 8, 16, 32]))
        made = (
            generator.integers(0, 2, (SIZE // edge, SIZE // edge)).repeat(edge, 0).repeat(edge, 1)
        )
    values = np.repeat(np.asarray(made, float)[..., None], 3, -1)
    return between(values, generator) if generator.random() < 0.5 else values


if __name__ == "__main__":
    main()
