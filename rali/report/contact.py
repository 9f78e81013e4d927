"""A contact sheet: one page of scored pictures that a browser sorts and filters.

In: rows, one per picture, as they come. Out: one HTML file without links to other files, written
row by row, so that memory does not grow with the pictures. Everything from outside is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, TextIO

from rali.errors import PictureError, printable
from rali.files import replace_atomically

from .blocks import PAGE_END, page_start, thumbnail

SMALL = 240  # pixels of a thumbnail's longer side
MAP = 900  # pixels of a map's longer side


@dataclass(frozen=True)
class SheetRow:
    """One picture of a contact sheet.

    Attributes:
        name: shown as text, of any characters.
        picture: what the thumbnail is made of, such as a file; None where there is none.
        score: None where the picture could not be scored.
        interval: the lowest and the highest human score to expect, or None.
        phrases: why, each with its probability from 0 to 1, the likeliest first.
        error: the reason why there is no score.
        map: a picture that shows where it is good and bad, such as a file; or None.
    """

    name: str
    picture: Any
    score: float | None
    interval: tuple[float, float] | None = None
    phrases: Sequence[tuple[str, float]] = ()
    error: str | None = None
    map: Any = None


def write_contact_sheet(
    path: str | Path,
    rows: Iterable[SheetRow],
    *,
    title: str = "Scores",
    intro: str = "",
    score_range: tuple[float, float] = (1.0, 5.0),
    picture_uri: Callable[..., str] = thumbnail,
) -> int:
    """Write the page in one step: it appears whole, or not at all if a row raises.

    Args:
        path: the HTML file.
        rows: taken one by one; only the one being written is in memory.
        intro: a sentence or two under the title.
        score_range: the ends of the sliders.
        picture_uri: (picture, longer_side=pixels) → its `data:` address; raises `PictureError`,
            whose message is then shown in the picture's place.

    Returns:
        How many pictures the page holds.
    """
    count = 0

    def write(target: Path) -> None:
        nonlocal count
        with target.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            count = _write(file, rows, title, intro, score_range, picture_uri)

    replace_atomically(Path(path), write)
    return count


def _write(
    file: TextIO, rows: Iterable[SheetRow], title: str, intro: str,
    score_range: tuple[float, float], picture_uri: Callable[..., str],
) -> int:  # fmt: skip
    room = files("rali.report")
    file.write(page_start(title, intro, (room / "contact.css").read_text("utf-8")))
    file.write(_controls(*score_range) + '<div class="cards sheet">\n')
    count = 0
    for row in rows:
        file.write(_card(row, picture_uri) + "\n")
        count += 1
    script = (room / "contact.js").read_text("utf-8")
    file.write(
        '</div>\n<dialog id=view aria-label="Map"><img alt="Where the picture is good and where '
        'it is bad"><p></p><form method=dialog><button>Close</button></form></dialog>\n'
        f"<script>\n{script}</script>\n{PAGE_END}"
    )
    return count


def _controls(low: float, high: float) -> str:
    low, high = math.floor(low), math.ceil(high)
    ends = f'type=range min="{low}" max="{high}" step="0.1"'
    return (
        "<div class=bar-top id=controls role=search hidden><label>Sort <select id=order>"
        "<option value=given>as given<option value=best>best first<option value=worst>worst first"
        "<option value=name>by name</select></label>"
        "<label>Find <input id=text type=search placeholder='name or phrase'></label>"
        f'<label>Score from <input id=low {ends} value="{low}"><output id=low-shown for=low>'
        f'</output></label><label>to <input id=high {ends} value="{high}">'
        "<output id=high-shown for=high></output></label>"
        "<label><input id=failed type=checkbox checked> not scored</label>"
        "<span id=count role=status></span></div>\n"
    )


def _card(row: SheetRow, picture_uri: Callable[..., str]) -> str:
    name = escape(printable(row.name))
    small = _address(row.picture, partial(picture_uri, longer_side=SMALL))
    if small.startswith("data:"):
        shown = f'<img src="{escape(small)}" alt="{name}" loading="lazy" decoding="async">'
    else:
        shown = f"<div class=none>{escape(printable(small))}</div>"
    if row.score is None:
        reason = row.error or "no score"
        lines = "" if reason == small else escape(printable(reason))
        caption = f"<em>Not scored{': ' if lines else ''}{lines}</em>"
    else:
        between = ""
        if row.interval is not None:
            between = f" <span>{row.interval[0]:.2f} to {row.interval[1]:.2f}</span>"
        caption = f"<b>{row.score:.2f}</b>{between}"
    why = "".join(
        f"<li>{escape(printable(phrase))} <span>{probability:.0%}</span></li>"
        for phrase, probability in row.phrases
    )
    drawn = _address(row.map, partial(picture_uri, longer_side=MAP)) if row.map else ""
    button = (
        f'<button type=button data-map="{escape(drawn)}" aria-label="Map of {name}">Map</button>'
        if drawn.startswith("data:")
        else ""
    )
    score = "" if row.score is None else f"{row.score:.6f}"
    return (
        f'<figure class=card data-score="{score}">{shown}<figcaption>{caption}'
        f"<small>{name}</small>{f'<ul>{why}</ul>' if why else ''}{button}</figcaption></figure>"
    )


def _address(picture: Any, uri: Callable[[Any], str]) -> str:
    """The picture's `data:` address, or the reason why there is none."""
    if picture is None:
        return "no picture"
    try:
        return uri(picture)
    except PictureError as error:
        return str(error)
