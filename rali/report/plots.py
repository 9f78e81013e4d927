"""The figures of evaluations and reports: scatter, curves, histograms, trade-offs.

In: plain numbers. Out: matplotlib `Figure` objects, which `rali.report.canvas` writes as PNG.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, StrMethodFormatter

from rali.errors import InputError

from .canvas import MARKERS, SCORES, THEMES, ThemeName, legend, new_figure, one_panel, style

LEAST_SPAN = 0.05  # of the axis of a correlation or an accuracy


def scatter(
    predicted: npt.ArrayLike,
    mos: npt.ArrayLike,
    *,
    groups: Sequence[str] | None = None,
    band: tuple[float, float] | None = None,
    title: str = "Predicted against human scores",
    truth: str = "human score (1 to 5)",
    theme: ThemeName = "light",
) -> Figure:
    """Predicted scores [n] against mean opinion scores [n], with the diagonal of equality.

    Args:
        groups: data set of each picture [n], one colour each.
        band: (low, high) of `mos` minus `predicted`, drawn along the diagonal; see `residual_band`.
        truth: what the vertical axis holds.
    """
    x, y = np.asarray(predicted, dtype=float), np.asarray(mos, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or x.size == 0:
        raise InputError(f"A scatter plot needs two equal lists; got {x.shape} and {y.shape}.")
    colours = THEMES[theme]
    figure, axes = one_panel(5.6, 5.6, title, theme)
    low = min(SCORES[0], float(x.min()), float(y.min())) - 0.1
    high = max(SCORES[1], float(x.max()), float(y.max())) + 0.1
    line = np.array([low, high])
    if band is not None:
        axes.fill_between(
            line, line + band[0], line + band[1], color=colours.muted, alpha=0.14, linewidth=0
        )
        axes.plot([], [], color=colours.muted, alpha=0.3, linewidth=7, label="95 % of the pictures")
    axes.plot(line, line, color=colours.muted, linewidth=1.2, linestyle=(0, (5, 4)), label="equal")
    names = list(dict.fromkeys(groups)) if groups is not None else ["pictures"]
    owner = np.asarray(groups if groups is not None else ["pictures"] * x.size)
    size, alpha = (26, 0.75) if x.size < 300 else (11, 0.45)
    for index, name in enumerate(names):
        mine = owner == name
        axes.scatter(
            x[mine],
            y[mine],
            s=size,
            alpha=alpha,
            color=colours.series[index % len(colours.series)],
            marker=MARKERS[index % len(MARKERS)],
            linewidths=0,
            label=f"{name} ({int(mine.sum())})",
        )
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set_xlabel("predicted score (1 to 5)")
    axes.set_ylabel(truth)
    legend(axes, colours)
    return figure


def residual_band(predicted: npt.ArrayLike, mos: npt.ArrayLike) -> tuple[float, float]:
    """(2.5 %, 97.5 %) quantiles of mos [n] minus predicted [n], in score units."""
    low, high = np.percentile(np.asarray(mos, float) - np.asarray(predicted, float), (2.5, 97.5))
    return float(low), float(high)


def loss_curves(rows: Iterable[Mapping[str, Any]], *, theme: ThemeName = "light") -> Figure:
    """One panel per stage: the loss of each step, faint, and its running mean.

    Args:
        rows: as in metrics.jsonl, {"stage", "step", "loss"}; rows without a loss are skipped.
    """
    stages: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.get("loss") is not None:
            point = float(row.get("step", 0)), float(row["loss"])
            stages.setdefault(str(row.get("stage", "training")), []).append(point)
    if not stages:
        raise InputError("There are no rows with a loss to draw.")
    return curves({stage: {"loss": points} for stage, points in stages.items()}, theme=theme)


def curves(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]],
    *,
    x: str = "step",
    log: bool = False,
    theme: ThemeName = "light",
) -> Figure:
    """One panel per quantity, with one line per series.

    Args:
        panels: {what the vertical axis shows: {series: [(step, value), …]}}. Long series are shown
            faint, with their running mean.
        x: what the horizontal axis shows. log: both axes logarithmic.
    """
    if not any(points for series in panels.values() for points in series.values()):
        raise InputError("There are no points to draw.")
    colours = THEMES[theme]
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = new_figure(max(5.2, 4.3 * columns), 3.3 * lines, theme)
    for index, (name, series) in enumerate(panels.items()):
        axes = figure.add_subplot(lines, columns, index + 1)
        style(axes, name, colours)
        for place, (label, points) in enumerate(series.items()):
            step, value = np.array(sorted(points), float).reshape(-1, 2).T
            colour = colours.series[place % len(colours.series)]
            width = max(1, len(value) // 25)
            if width > 1:
                axes.plot(step, value, color=colour, alpha=0.25, linewidth=0.8)
                step = np.convolve(step, np.ones(width) / width, mode="valid")
                value = np.convolve(value, np.ones(width) / width, mode="valid")
            axes.plot(
                step, value, color=colour, linewidth=1.9, label=label,
                marker="o" if len(value) < 12 else None, markersize=4,
            )  # fmt: skip
        if len(series) > 1:
            axes.legend(frameon=False, fontsize=8.5, labelcolor=colours.text)
        axes.set_xlabel(x)
        if log:
            _log_axes(axes, sorted({step for points in series.values() for step, _ in points}))
            continue
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
    return figure


def _log_axes(axes: Axes, steps: Sequence[float]) -> None:
    """Logarithmic axes with a tick at each step and at 1, 2 and 5 of every decade."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(steps, [f"{step:g}" for step in steps])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def intervals(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    title: str = "",
    theme: ThemeName = "light",
) -> Figure:
    """One panel per metric: a line per case, its values as dots and their mean as a bar.

    A panel spans `LEAST_SPAN` at least, so that a tiny difference does not look large.

    Args:
        panels: {metric: {case: [a value per seed]}}.
    """
    colours = THEMES[theme]
    count = max(len(cases) for cases in panels.values())
    figure = new_figure(4.2 * len(panels) + 1.2, 0.42 * count + 1.5, theme)
    if title:
        figure.suptitle(title, x=0.01, ha="left", color=colours.text, fontweight="bold")
    for index, (metric, cases) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), index + 1)
        style(axes, metric, colours)
        for place, values in enumerate(cases.values()):
            mean = float(np.mean(values))
            axes.plot([mean, mean], [place - 0.3, place + 0.3], color=colours.text, linewidth=2)
            axes.scatter(values, [place] * len(values), s=26, color=colours.series[0], alpha=0.7)
        axes.set_yticks(range(len(cases)), list(cases) if not index else [""] * len(cases))
        axes.set_ylim(len(cases) - 0.5, -0.5)
        low, high = axes.get_xlim()
        short = max(0.0, LEAST_SPAN - (high - low)) / 2
        axes.set_xlim(low - short, high + short)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    return figure


def histograms(
    panels: Mapping[str, npt.ArrayLike],
    *,
    truth: npt.ArrayLike | None = None,
    theme: ThemeName = "light",
) -> Figure:
    """Distributions of scores, one above the other, on 1–5.

    Args:
        panels: {title: scores [n]}.
        truth: human scores [n], an outline in each panel.
    """
    colours = THEMES[theme]
    figure = new_figure(5.6, 2.2 * len(panels) + 0.5, theme)
    edges = np.linspace(*SCORES, 41).tolist()
    for index, (title, scores) in enumerate(panels.items()):
        axes = figure.add_subplot(len(panels), 1, index + 1)
        style(axes, title, colours)
        values = np.clip(np.asarray(scores, float), *SCORES)
        axes.hist(values, edges, color=colours.series[0], alpha=0.8, label="predicted")
        if truth is not None:
            axes.hist(
                np.asarray(truth, float), edges, histtype="step", color=colours.text,
                linewidth=1.2, label="human",
            )  # fmt: skip
            if not index:
                axes.legend(frameon=False, fontsize=8.5, labelcolor=colours.text)
        axes.set_xlim(*SCORES)
        axes.set_ylabel("pictures")
    axes.set_xlabel("score (1 bad, 5 excellent)")
    return figure


def calibration(
    predicted: npt.ArrayLike, mos: npt.ArrayLike, error: npt.ArrayLike,
    *, title: str = "Calibration", theme: ThemeName = "light",
) -> Figure:  # fmt: skip
    """Mean human score [bins] against mean prediction [bins], with 95 % error bars."""
    x, y = np.asarray(predicted, float), np.asarray(mos, float)
    colours = THEMES[theme]
    figure, axes = one_panel(5.0, 5.0, title, theme)
    axes.plot(SCORES, SCORES, color=colours.muted, linewidth=1.2, linestyle=(0, (5, 4)))
    axes.errorbar(
        x, y, 1.96 * np.asarray(error, float), color=colours.series[0], marker="o", markersize=5,
        linewidth=1.6, capsize=2,
    )  # fmt: skip
    axes.set(xlim=SCORES, ylim=SCORES, aspect="equal")
    axes.set_xlabel("mean predicted score of a bin")
    axes.set_ylabel("mean human score of the bin")
    return figure


def tradeoff(
    points: Mapping[tuple[str, str], tuple[float, float]], *, x: str, y: str, title: str,
    best: Literal["upper left", "lower right"] = "upper left", theme: ThemeName = "light",
) -> Figure:  # fmt: skip
    """Points by name and kind ("" if there is one), such as accuracy against parameters.

    Each name has a colour and each kind a marker. A line joins the points that no other beats in
    both directions of the `best` corner. The horizontal axis is logarithmic, and so is the vertical
    one if it spans more than a factor of ten.
    """
    if not points:
        raise InputError("There are no points to draw.")
    colours = THEMES[theme]
    figure, axes = one_panel(7.6, 4.4, title, theme)
    names, kinds = (list(dict.fromkeys(each)) for each in zip(*points, strict=True))
    colour_of = {n: colours.series[i % len(colours.series)] for i, n in enumerate(names)}
    marker_of = {k: MARKERS[i % len(MARKERS)] for i, k in enumerate(kinds)}
    for (name, kind), (across, up) in points.items():
        axes.scatter(across, up, s=46, color=colour_of[name], marker=marker_of[kind], alpha=0.9)
    for name in names:
        axes.scatter([], [], s=46, color=colour_of[name], marker="o", label=name)
    for kind in kinds if len(kinds) > 1 else ():
        axes.scatter([], [], s=46, color=colours.muted, marker=marker_of[kind], label=kind)
    front = pareto(points.values(), best)
    if len(front) > 1:
        step = "steps-post" if best == "upper left" else "steps-pre"
        axes.plot(*zip(*front, strict=True), color=colours.muted, drawstyle=step, zorder=0)
    axes.set_xscale("log")
    heights = [up for _, up in points.values()]
    if min(heights) > 0 and max(heights) > 10 * min(heights):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(0.1)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    legend(axes, colours, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def pareto(
    points: Iterable[tuple[float, float]], best: Literal["upper left", "lower right"]
) -> list[tuple[float, float]]:
    """The points that no other beats in both coordinates, from left to right."""
    left = best == "upper left"
    front: list[tuple[float, float]] = []
    for across, up in sorted(points, key=lambda p: (p[0], -p[1]) if left else (-p[0], p[1])):
        if not front or (up > front[-1][1] if left else up < front[-1][1]):
            front.append((across, up))
    return front if left else front[::-1]
