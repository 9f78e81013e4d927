"""Draw docs/explain.png: why a photograph scores as it does, and where it is good and bad.

    python docs/explain.py

The photograph is scikit-learn's flower.jpg (flickr.com/photos/vultilion, CC BY 2.0), as it is and
strongly compressed. Needs `pip install 'rali[distill]'`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rali import Scorer
from rali.pictures.degrade import degrade
from rali.pictures.samples import sample_photographs

WIDTH, GAP, TEXT, LINE = 288, 16, 440, 30
INK, PALE = "#24292f", "#57606a"


def main() -> None:
    scorer = Scorer()
    (photograph,) = sample_photographs(["flower"])
    rows = [
        _row(scorer, photograph, "a photograph"),
        _row(scorer, degrade(photograph, "compression", 4), "the same, strongly compressed"),
    ]
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows) + GAP), "white")
    for place, row in enumerate(rows):
        sheet.paste(row, (0, place * (row.height + GAP)))
    sheet.save(Path(__file__).with_name("explain.png"), optimize=True)


def _row(scorer: Scorer, rgb: np.ndarray, title: str) -> Image.Image:
    """The photograph, its score with the three likeliest phrases, and its map."""
    drawn = scorer.map(rgb).overlay()  # the photograph beside its map
    width = 2 * WIDTH + GAP
    drawn = drawn.resize(
        (width, round(drawn.height * width / drawn.width)), Image.Resampling.LANCZOS
    )
    row = Image.new("RGB", (width + TEXT + GAP, drawn.height), "white")
    row.paste(drawn, (0, 0))
    pen = ImageDraw.Draw(row)
    large, small = ImageFont.load_default(size=26), ImageFont.load_default(size=17)
    left = width + GAP
    pen.text((left, 0), title, PALE, small)
    pen.text((left, LINE - 4), f"{scorer(rgb):.2f} of 5", INK, large)
    for line, reason in enumerate(scorer.explain(rgb)):
        pen.text((left, (line + 2.6) * LINE), f"{reason.probability:.0%}", PALE, small)
        pen.text((left + 52, (line + 2.6) * LINE), reason.phrase, INK, small)
    return row


if __name__ == "__main__":
    main()
