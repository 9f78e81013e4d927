"""Does the built-in see all of a picture, and is it calm where people are? Scores and maps.

    python benchmarks/whole_picture.py --data DIR

Kodak's photographs and the best of scenes of BIQ2021's test split, none of them trained on, are cut
to wide (3:2), tall (2:3) and 1:3 pictures. In each third and each ninth of them a fault is placed:
blur (σ 8 pixels), noise (σ 50 of 255) or black. Then the score and the mean of the map of plain and
degraded pictures are ranked beside each other, and good photographs are scored without their
colours and as JPEG of quality 95. Writes benchmarks/whole_picture.md.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import onnxruntime
from explanations import best_of_scenes
from PIL import Image
from scipy import ndimage

from rali import Scorer
from rali.metrics import srcc
from rali.pictures.degrade import DISTORTIONS, degrade
from rali.pictures.preprocess import shrink
from rali.pictures.read import open_picture
from rali.version import __version__

LONGER = 512  # pixels
SHAPES = {"wide, 3:2": (3, 2), "tall, 2:3": (2, 3), "1:3": (1, 3)}  # width, height
CUTS = {"third": [(3, 1), (1, 3)], "ninth": [(3, 3)]}  # rows, columns
MAPPED = 12  # photographs whose maps are made, plain and degraded
BARS = {"lowered": 0.85, "map": 0.9, "grey": 0.5, "jpeg": 0.1}


def faults(rgb: np.ndarray) -> dict[str, np.ndarray]:
    """The picture with each fault all over: uint8 [H, W, 3] each."""
    noise = rgb + 50 * np.random.default_rng(0).standard_normal(rgb.shape)
    return {
        "blur": ndimage.gaussian_filter(rgb, (8, 8, 0)),
        "noise": np.clip(np.rint(noise), 0, 255).astype(np.uint8),
        "black": np.zeros_like(rgb),
    }


def placed(rgb: np.ndarray, bad: np.ndarray, rows: int, columns: int) -> Iterator[np.ndarray]:
    """The picture with one cell of a grid replaced by the bad one, for each cell."""
    height, width = rgb.shape[:2]
    for row, column in product(range(rows), range(columns)):
        down = slice(row * height // rows, (row + 1) * height // rows)
        across = slice(column * width // columns, (column + 1) * width // columns)
        made = rgb.copy()
        made[down, across] = bad[down, across]
        yield made


def cut(rgb: np.ndarray, width: int, height: int) -> np.ndarray:
    """The largest middle part of that shape, its longer edge at most `LONGER` pixels."""
    unit = min(rgb.shape[1] / width, rgb.shape[0] / height)
    wide, high = int(unit * width), int(unit * height)
    left, top = (rgb.shape[1] - wide) // 2, (rgb.shape[0] - high) // 2
    return shrink(np.ascontiguousarray(rgb[top : top + high, left : left + wide]), longer=LONGER)


def jpeg(rgb: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def lowered(scorer: Scorer, photographs: list[np.ndarray]) -> Iterator[str]:
    """A line per shape, size of the part and fault: in what share the score is lower."""
    for (shape, edges), (size, grids) in product(SHAPES.items(), CUTS.items()):
        shares: dict[str, list[bool]] = {}
        for rgb in photographs:
            picture = cut(rgb, *edges)
            before = scorer(picture)
            for name, bad in faults(picture).items():
                made = [each for grid in grids for each in placed(picture, bad, *grid)]
                shares.setdefault(name, []).extend(scorer(made) < before)
        for name, found in shares.items():
            share = float(np.mean(found))
            verdict = "met" if share >= BARS["lowered"] else "missed"
            yield f"| {shape} | {name} in a {size} | {len(found)} | {share:.1%} | {verdict} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    paths = [
        *sorted((data / "pristine").glob("kodak*.jpg")),
        *best_of_scenes(data / "biq2021")[:24],
    ]
    photographs = [open_picture(path) for path in paths]
    scorer = Scorer()
    lines = list(lowered(scorer, photographs))

    plain = [shrink(rgb, longer=LONGER) for rgb in photographs]
    before = np.asarray(scorer(plain))
    grey = [np.repeat(np.asarray(Image.fromarray(rgb).convert("L"))[..., None], 3, 2)
            for rgb in plain]  # fmt: skip
    lost = before - np.asarray(scorer(grey))
    moved = np.abs(np.asarray(scorer([jpeg(rgb, 95) for rgb in plain])) - before)
    mapped = list(plain[:MAPPED])
    for number, rgb in enumerate(plain[:MAPPED]):
        for distortion in DISTORTIONS[number % 3 :: 3]:
            mapped.append(degrade(rgb, distortion, 2 + number % 4))
    scores = np.asarray(scorer(mapped))
    means = np.array([scorer.map(rgb).scores.mean() for rgb in mapped])
    ranks = srcc(means, scores)

    def line(what: str, value: float, bar: str, met: bool) -> str:
        return f"| {what} | {value:.3f} | {bar} | {'met' if met else 'missed'} |"

    text = "\n".join([
        "# The whole picture", "",
        f"`python benchmarks/whole_picture.py --data DIR`: {platform.machine()}, {os.cpu_count()} "
        f"cores, Python {platform.python_version()}, onnxruntime {onnxruntime.__version__}, rali "
        f"{__version__}. {len(photographs)} photographs that were not trained on, at most {LONGER} "
        "pixels long.", "",
        "In what share of the pictures a fault in one part of them lowers the score; wanted: "
        f"{BARS['lowered']:.0%}.", "",
        "| shape | fault | pictures | lower | |", "| --- | --- | ---: | ---: | --- |", *lines, "",
        "| what | measured | bar | |", "| --- | ---: | --- | --- |",
        line(f"rank correlation of score and mean of the map, {len(mapped)} pictures", ranks,
             f"≥ {BARS['map']}", ranks >= BARS["map"]),
        line("what good photographs lose without their colours, mean", lost.mean(),
             f"≤ {BARS['grey']}", lost.mean() <= BARS["grey"]),
        line("the same, largest", lost.max(), "", True).removesuffix(" met |") + " |",
        line("how far JPEG of quality 95 moves a score, mean", moved.mean(),
             f"≤ {BARS['jpeg']}", moved.mean() <= BARS["jpeg"]),
        line("the same, largest", moved.max(), "", True).removesuffix(" met |") + " |", "",
    ])  # fmt: skip
    (Path(__file__).parent / "whole_picture.md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
