"""Sheets of pictures with the rationales of several teachers, side by side (RALI, Figs. A.2, A.3).

In: folders of triplets. Out: HTML, as a page or as a section of a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from rali.data.triplets import Triplet, read_triplets
from rali.errors import InputError, PictureError
from rali.files import replace_atomically
from rali.report.blocks import page_html, section_html, thumbnail


def write_sheet(
    first: str | Path, second: str | Path, path: str | Path, *, count: int = 12, seed: int = 0
) -> Path:
    """Write a page with pictures that both folders hold; see `rationales_section`."""
    body = rationales_section([first, second], count=count, seed=seed)
    page = page_html("Two teachers", "What they wrote about the same pictures.", body)
    path = Path(path)
    replace_atomically(path, lambda target: target.write_text(page, "utf-8"))
    return path


def rationales_section(folders: Sequence[str | Path], *, count: int = 12, seed: int = 0) -> str:
    """A report's section with pictures that all folders hold, evenly spaced over human scores.

    Args:
        folders: folders of triplets, one per teacher.
        count: at most this many pictures.
        seed: seed of the choice among a picture's texts.

    Raises:
        InputError: the folders share no picture with a usable text.
    """
    draw = np.random.default_rng(seed)
    teachers = [_usable(folder) for folder in folders]
    shared = [image for image in teachers[0] if all(image in other for other in teachers)]
    if not shared:
        raise InputError(f"{' and '.join(map(str, folders))} share no picture with a usable text.")
    shared.sort(key=lambda image: (-(teachers[0][image][0].score or 0.0), str(image)))
    picks = np.unique(np.linspace(0, len(shared) - 1, min(count, len(shared))).round()).astype(int)
    rows = []
    for image in (shared[pick] for pick in picks):
        drawn = [own[image][int(draw.integers(len(own[image])))] for own in teachers]
        rows.append(_row(image, drawn))
    names = [own[shared[0]][0].teacher for own in teachers]
    heads = "".join(f"<th scope=col>{escape(name)}</th>" for name in ("picture", *names))
    style = (
        f"<style>.sheet td,.sheet th{{text-align:left}}.sheet td{{width:{84 // len(teachers)}%}}"
        ".sheet img{width:200px;max-width:28vw;border-radius:8px}.sheet b{font-size:1.2rem}</style>"
    )
    table = (
        f"<table class=sheet><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
    return section_html(
        "What the teachers wrote" if len(teachers) > 1 else "What the teacher wrote",
        style + f"<div class=wide>{table}</div>",
        "A score and its reason, word for word, with the teacher's mistakes; one of a picture's "
        "texts, drawn at random. Pictures are evenly spaced, in their order, from the best to the "
        "worst true score, not chosen by hand.",
    )  # fmt: skip


def _usable(folder: str | Path) -> dict[Path, list[Triplet]]:
    found: dict[Path, list[Triplet]] = {}
    for triplet in read_triplets(folder):
        if triplet.parse_ok and triplet.reasoning:
            found.setdefault(triplet.image, []).append(triplet)
    return found


def _row(image: Path, triplets: Sequence[Triplet]) -> str:
    try:
        picture = f'<img src="{thumbnail(image)}" alt="{escape(image.name)}">'
    except PictureError as error:
        picture = escape(str(error))
    human = "" if triplets[0].score is None else f"true score {triplets[0].score:.2f}"
    cells = "".join(
        f"<td>{'' if t.teacher_score is None else f'<b>{t.teacher_score:.2f}</b><br>'}"
        f"{escape(t.reasoning)}</td>"
        for t in triplets
    )
    return f"<tr><th scope=row>{picture}<br><small>{escape(human)}</small></th>{cells}</tr>"
