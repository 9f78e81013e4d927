"""What every figure is drawn on: themes, axes without a frame, and PNG files.

Figures are matplotlib's `Figure` objects without pyplot, so there is no global state and no window.
Colours are Okabe and Ito's (2008), which colour-blind readers can tell apart.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from rali.files import replace_atomically

ThemeName = Literal["light", "dark"]
SCORES = (1.0, 5.0)
MARKERS = "os^Dv*"


@dataclass(frozen=True)
class Theme:
    """Colours of one appearance; `series` in the order in which groups are drawn."""

    background: str
    text: str
    muted: str
    grid: str
    series: tuple[str, ...]


THEMES: dict[ThemeName, Theme] = {
    "light": Theme(
        background="#ffffff",
        text="#1f2328",
        muted="#656d76",
        grid="#e4e7eb",
        series=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a6a00", "#56b4e9"),
    ),
    "dark": Theme(
        background="#161b22",
        text="#e6edf3",
        muted="#9aa4af",
        grid="#2b323b",
        series=("#56b4e9", "#e69f00", "#2fbf94", "#cc79a7", "#f0e442", "#8fb8de"),
    ),
}


def new_figure(width: float, height: float, theme: ThemeName) -> Figure:
    """An empty figure of width × height inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.set_facecolor(THEMES[theme].background)
    return figure


def one_panel(width: float, height: float, title: str, theme: ThemeName) -> tuple[Figure, Axes]:
    """A figure of width × height inches with one pair of axes."""
    figure = new_figure(width, height, theme)
    axes = figure.add_subplot()
    style(axes, title, THEMES[theme])
    return figure, axes


def style(axes: Axes, title: str, colours: Theme) -> None:
    """Give axes a title, a grid and the theme's colours, without a frame."""
    axes.set_facecolor(colours.background)
    axes.set_title(title, loc="left", color=colours.text, fontsize=11.5, fontweight="bold")
    axes.tick_params(which="both", colors=colours.muted, labelsize=9, length=0)
    axes.xaxis.label.set(color=colours.muted, fontsize=9.5)
    axes.yaxis.label.set(color=colours.muted, fontsize=9.5)
    axes.grid(True, color=colours.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def legend(axes: Axes, colours: Theme, **place: Any) -> None:
    """Add a legend; `place` overrides matplotlib's arguments, such as `loc`."""
    shown = {"loc": "upper left", "frameon": True, "fontsize": 8.5, "labelcolor": colours.text}
    axes.legend(**shown | place).get_frame().set(
        facecolor=colours.background, edgecolor="none", alpha=0.85
    )


def to_file(figure: Figure, kind: str = "png", *, dpi: int = 144) -> bytes:
    """The figure as a file of this kind: "png", "pdf" or "svg"."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a "$" in a user's name would start a formula
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi, facecolor=figure.get_facecolor())
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | Path, *, dpi: int = 144) -> None:
    """Write the figure in one step, as the kind of file that its suffix names."""
    image = to_file(figure, Path(path).suffix.lower().lstrip("."), dpi=dpi)
    replace_atomically(Path(path), lambda target: target.write_bytes(image))


def data_uri(figure: Figure, *, dpi: int = 144) -> str:
    """The figure as a `data:` address, for an <img> in a page without other files."""
    return "data:image/png;base64," + base64.b64encode(to_file(figure, dpi=dpi)).decode("ascii")
