"""The blocks that pages are built of: page, section, card, figure; pages need no network.

In: text and pictures. Out: HTML in which everything that comes from outside is escaped.
"""

from __future__ import annotations

import base64
import io
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from rali.errors import PictureError
from rali.pictures.preprocess import shrink
from rali.pictures.read import open_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THUMBNAIL = 320  # pixels of the longer side; shown at about half of it
PAGE_END = "</main></body></html>\n"


def page_html(title: str, intro: str, body: str) -> str:
    """A whole page; `title` and `intro` are escaped, `body` is HTML."""
    return page_start(title, intro) + body + PAGE_END


def page_start(title: str, intro: str, more_css: str = "") -> str:
    """A page up to its body, which `PAGE_END` closes; `title` and `intro` are escaped."""
    css = "\n" + (files("rali.report") / "page.css").read_text("utf-8") + more_css
    lead = f"<p class=lead>{escape(intro)}</p>" if intro else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{css}</style></head>\n"
        f"<body><main><header><h1>{escape(title)}</h1>{lead}</header>\n"
    )


def section_html(title: str, body: str, note: str = "") -> str:
    """A box with a heading; `title` and `note` are escaped, `body` is HTML."""
    note = f"<p class=note>{escape(note)}</p>" if note else ""
    return f"<section><h2>{escape(title)}</h2>{note}{body}</section>\n"


def figure_html(light: Figure, dark: Figure, *, alt: str, caption: str) -> str:
    """A figure with its caption, light or dark as the reader's system is."""
    from .canvas import data_uri

    wide = " class=wide" if light.get_figwidth() > 7 else ""  # scrolls sideways on a phone
    return (
        f"<figure class=plot><div{wide}><picture>"
        f'<source media="(prefers-color-scheme: dark)" srcset="{data_uri(dark)}">'
        f'<img src="{data_uri(light)}" width="{96 * light.get_figwidth():.0f}" '
        f'alt="{escape(alt)}"></picture></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def card_html(image: Any, alt: str, lines: str, foot: str) -> str:
    """A picture with a caption; `alt` and `foot` are escaped, `lines` is HTML.

    Args:
        image: a file; None where there is no picture to show. One that cannot be read is replaced
            by the reason.
    """
    picture = "<div class=none>no picture</div>"
    if image is not None:
        try:
            picture = f'<img src="{thumbnail(image)}" alt="{escape(alt)}" loading="lazy">'
        except PictureError as error:
            picture = f"<div class=none>{escape(str(error))}</div>"
    caption = f"{lines}<small>{escape(foot)}</small>"
    return f"<figure class=card>{picture}<figcaption>{caption}</figcaption></figure>"


def thumbnail(source: Any, *, longer_side: int = THUMBNAIL) -> str:
    """A picture as the `data:` address of a small JPEG.

    Raises:
        PictureError: the picture cannot be read.
    """
    from PIL import Image

    picture = Image.fromarray(shrink(open_picture(source), longer=longer_side))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
