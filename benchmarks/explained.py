"""Thirty photographs with scores, phrases and maps of the built-in, to be judged by eye.

    python benchmarks/explained.py --data DIR

They are drawn at random (seed 0) from BIQ2021's test split, which was not trained on. Writes
benchmarks/explained.jpg.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from rali import Scorer
from rali.data.importers import biq2021

COUNT, COLUMNS, SEED = 30, 3, 0
CELL = 560, 290  # pixels; the photograph and its map, above the phrases
TEXT = 100


def cell(scorer: Scorer, path: Path, number: int) -> Image.Image:
    """The photograph beside its map, its score and its three likeliest phrases."""
    made = Image.new("RGB", (CELL[0], CELL[1] + TEXT), "white")
    drawn = ImageOps.contain(scorer.map(path).overlay(), (CELL[0] - 8, CELL[1] - 8))
    made.paste(drawn, ((CELL[0] - drawn.width) // 2, CELL[1] - 4 - drawn.height))
    pen, font = ImageDraw.Draw(made), ImageFont.load_default(size=15)
    lines = [f"{number}. score {scorer(path):.2f}"]
    lines += [f"{reason.probability:.0%}  {reason.phrase}" for reason in scorer.explain(path)]
    for line, text in enumerate(lines):
        pen.text((6, CELL[1] + 22 * line), text, "black", font)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    test = sorted(r.image for r in biq2021.read(data / "biq2021") if r.split == "test")
    chosen = np.random.default_rng(SEED).choice(len(test), COUNT, replace=False)
    scorer = Scorer()
    cells = [cell(scorer, test[place], n) for n, place in enumerate(sorted(chosen), 1)]
    width, height = cells[0].size
    sheet = Image.new("RGB", (COLUMNS * width, -(-COUNT // COLUMNS) * height), "white")
    for place, each in enumerate(cells):
        sheet.paste(each, (place % COLUMNS * width, place // COLUMNS * height))
    sheet.save(Path(__file__).with_suffix(".jpg"), quality=70)


if __name__ == "__main__":
    main()
