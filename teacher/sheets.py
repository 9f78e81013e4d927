"""Sheets of pictures with what two teachers said of them, side by side (RALI, Figs. A.2 and A.3).

In come two folders of triplets; out comes one HTML page.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from rali.errors import InputError, PictureError
from rali.files import replace_atomically
from rali.report import page_html, section_html, thumbnail
from rali.triplets import Triplet, read_triplets


def write_sheet(
    first: str | Path, second: str | Path, path: str | Path, *, count: int = 12, seed: int = 0
) -> Path:
    """Write a page with pictures that both folders know, evenly spaced over their human scores.

    Args:
        first, second: folders of triplets. count: pictures.
        seed: of the choice among a picture's texts.

    Raises:
        InputError: the folders share no picture with a usable text.
    """
    draw = np.random.default_rng(seed)
    a, b = _usable(first), _usable(second)
    shared = [image for image in a if image in b]
    if not shared:
        raise InputError(f"{first} and {second} share no picture with a usable text.")
    shared.sort(key=lambda image: (-(a[image][0].score or 0.0), str(image)))
    picks = np.unique(np.linspace(0, len(shared) - 1, min(count, len(shared))).round()).astype(int)
    rows = []
    for image in (shared[pick] for pick in picks):
        one, other = (own[int(draw.integers(len(own)))] for own in (a[image], b[image]))
        rows.append(_row(image, one, other))
    names = [own[shared[0]][0].teacher for own in (a, b)]
    heads = "".join(f"<th scope=col>{escape(name)}</th>" for name in ("picture", *names))
    style = (
        "<style>.sheet td{text-align:left;width:42%}.sheet img{width:200px;border-radius:8px}"
        ".sheet b{font-size:1.2rem}</style>"
    )
    table = (
        f"<table class=sheet><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    body = section_html(
        "Rationales", style + f"<div class=wide>{table}</div>",
        "Evenly spaced from the best to the worst human score, not chosen by hand.",
    )  # fmt: skip
    page = page_html("Two teachers", f"{names[0]} beside {names[1]}.", body)
    path = Path(path)
    replace_atomically(path, lambda target: target.write_text(page, "utf-8"))
    return path


def _usable(folder: str | Path) -> dict[Path, list[Triplet]]:
    found: dict[Path, list[Triplet]] = {}
    for triplet in read_triplets(folder):
        if triplet.parse_ok and triplet.reasoning:
            found.setdefault(triplet.image, []).append(triplet)
    return found


def _row(image: Path, first: Triplet, second: Triplet) -> str:
    try:
        picture = f'<img src="{thumbnail(image)}" alt="{escape(image.name)}">'
    except PictureError as error:
        picture = escape(str(error))
    human = "" if first.score is None else f"human {first.score:.2f}"
    cells = "".join(
        f"<td>{'' if t.teacher_score is None else f'<b>{t.teacher_score:.2f}</b><br>'}"
        f"{escape(t.reasoning)}</td>"
        for t in (first, second)
    )
    return f"<tr><th scope=row>{picture}<br><small>{escape(human)}</small></th>{cells}</tr>"
