"""Maps: points in two dimensions, coloured by group or by score.

In: points [n, 2], or basis vectors that are projected here. Out: matplotlib `Figure` objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rali.errors import InputError

from .canvas import MARKERS, SCORES, THEMES, Theme, ThemeName, legend, new_figure, one_panel, style


def group_maps(
    panels: Mapping[str, tuple[npt.ArrayLike, Sequence[str]]],
    *,
    theme: ThemeName = "light",
) -> Figure:
    """Maps side by side: points in two dimensions, coloured by group.

    Args:
        panels: {title: (points [n, 2], group of each point [n])}.
    """
    colours = THEMES[theme]
    figure = new_figure(4.6 * len(panels), 4.4, theme)
    for index, (title, (points, groups)) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), index + 1)
        style(axes, title, colours)
        place = np.asarray(points, float)
        for number, name in enumerate(dict.fromkeys(groups)):
            mine = np.array([group == name for group in groups])
            axes.scatter(
                place[mine, 0], place[mine, 1], s=14, alpha=0.7, linewidths=0, label=name,
                color=colours.series[number % len(colours.series)],
                marker=MARKERS[number % len(MARKERS)],
            )  # fmt: skip
        axes.set(xticks=[], yticks=[])
        legend(axes, colours)
    return figure


def score_maps(
    panels: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], *, theme: ThemeName = "light"
) -> Figure:
    """Maps side by side: points in two dimensions, coloured by score.

    Args:
        panels: {title: (points [n, 2], scores [n], 1–5)}.
    """
    colours = THEMES[theme]
    figure = new_figure(4.6 * len(panels) + 0.9, 4.4, theme)
    for index, (title, (points, scores)) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), index + 1)
        style(axes, title, colours)
        place = np.asarray(points, float)
        drawn = _by_score(axes, place, np.asarray(scores, float), colours, size=18)
        axes.set(xticks=[], yticks=[])
    _score_bar(figure, drawn, figure.axes, "score (1 bad, 5 excellent)", colours)
    return figure


def bases_2d(
    basis_vectors: npt.ArrayLike,
    basis_scores: npt.ArrayLike,
    *,
    title: str = "Basis vectors in two dimensions",
    theme: ThemeName = "light",
) -> Figure:
    """Basis vectors [K, M] on their first two principal components, coloured by score [K].

    The vectors are normalised to length 1 first, because the score compares them by cosine.
    """
    vectors, scores = np.asarray(basis_vectors, float), np.asarray(basis_scores, float)
    if vectors.ndim != 2 or scores.shape != vectors.shape[:1] or len(scores) < 2:
        raise InputError(
            f"Bases are vectors [K, M] with scores [K], K ≥ 2; got {vectors.shape}, {scores.shape}."
        )
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths > 0, lengths, 1.0)
    left, singular, _ = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
    points = np.zeros((len(scores), 2))
    known = min(2, len(singular))
    points[:, :known] = left[:, :known] * singular[:known]
    share = singular**2 / max(float(np.sum(singular**2)), 1e-12)
    colours = THEMES[theme]
    figure, axes = one_panel(6.2, 4.9, title, theme)
    drawn = _by_score(axes, points, scores, colours, size=34)
    axes.set_xlabel(f"first component ({share[0]:.0%} of the variance)")
    second = share[1] if len(share) > 1 else 0.0
    axes.set_ylabel(f"second component ({second:.0%})")
    _score_bar(figure, drawn, axes, "basis score (1 bad, 5 excellent)", colours)
    return figure


def _by_score(
    axes: Axes, points: np.ndarray, scores: np.ndarray, colours: Theme, *, size: float
) -> Any:
    return axes.scatter(
        points[:, 0],
        points[:, 1],
        c=scores,
        cmap="viridis",
        vmin=SCORES[0],
        vmax=SCORES[1],
        s=size,
        alpha=0.9,
        edgecolors=colours.background,
        linewidths=0.4,
    )


def _score_bar(figure: Figure, drawn: Any, axes: Any, label: str, colours: Theme) -> None:
    bar = figure.colorbar(drawn, ax=axes, ticks=[1, 2, 3, 4, 5], pad=0.02, aspect=28)
    bar.set_label(label, color=colours.muted, fontsize=9)
    bar.ax.tick_params(colors=colours.muted, labelsize=9, length=0)
    bar.outline.set_visible(False)
