"""One page on a run: `report.html`, which holds its pictures and plots and needs no network.

In: what a run knows (stages, losses, bases, predictions, statistics). Out: one HTML file, light or
dark as the reader's system is. Everything that comes from outside is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rali.files import replace_atomically
from rali.metrics import METRICS

from .blocks import card_html, figure_html, page_html, section_html
from .evaluation import Evaluation, remarks

Json = Mapping[str, Any]
SHOWN = 10  # pictures in a row of examples


def write_report(
    path: str | Path,
    *,
    title: str,
    intro: str = "",
    summary: Json | None = None,
    stages: Mapping[str, float] | None = None,
    metrics: Iterable[Json] = (),
    basis_vectors: npt.ArrayLike | None = None,
    basis_scores: npt.ArrayLike | None = None,
    predictions: Sequence[Json] = (),
    evaluation: Evaluation | None = None,
    user_pictures: Sequence[Json] = (),
    config: Json | None = None,
    truth: str = "human score",
    sections: Sequence[str] = (),
) -> Path:
    """Write the report; a section whose data are missing is left out.

    Args:
        path: the HTML file, replaced in one step.
        intro: a sentence or two under the title.
        summary: further headline numbers by name, such as {"onnx_max_difference": 2e-6,
            "seconds": 301.2}; values that are not numbers or text are skipped, and so are metrics
            that `evaluation` has too.
        stages: seconds by stage, in order.
        metrics: rows of metrics.jsonl, {"stage", "step", "loss"}.
        basis_vectors: [K, M]. basis_scores: [K], 1 to 5.
        predictions: {"image", "score", "mos"} and optionally "distortion", "severity", "dataset".
        evaluation: as `rali.evaluation.evaluate` returns it.
        user_pictures: {"image", "score" or None, "error" or None}.
        config: the resolved configuration, shown as JSON.
        truth: what `mos` is, e.g. "human score" or "score of the degradation".
        sections: further HTML of `section_html`, shown before the stages.

    Returns:
        The path written.
    """
    path = Path(path)
    parts = [_headline(evaluation, summary or {})]
    if user_pictures:
        cards = "".join(_user_card(row) for row in user_pictures)
        parts.append(section_html("Your pictures", f'<div class="cards">{cards}</div>'))
    if evaluation is not None:
        parts.append(section_html("Agreement", _metrics_table(evaluation)))
    if predictions:
        parts.append(section_html("Predicted and true scores", _scatter(predictions, truth)))
        parts.append(_examples(predictions, truth))
    training = _losses(metrics) + _bases(basis_vectors, basis_scores)
    if training:
        parts.append(section_html("Training", training))
    parts += sections
    if stages:
        parts.append(section_html("Stages", _stages_table(stages)))
    if config is not None:
        text = escape(json.dumps(config, indent=2, default=str, ensure_ascii=False))
        body = f"<details><summary>Show the configuration</summary><pre>{text}</pre></details>"
        parts.append(section_html("Configuration", body))
    page = page_html(title, intro, "".join(parts))
    replace_atomically(path, lambda target: target.write_text(page, "utf-8"))
    return path


def _scatter(predictions: Sequence[Json], truth: str) -> str:
    from . import plots
    from .canvas import THEMES

    predicted = [float(row["score"]) for row in predictions]
    true = [float(row["mos"]) for row in predictions]
    low, high = plots.residual_band(predicted, true)
    return figure_html(
        *(
            plots.scatter(
                predicted,
                true,
                groups=[str(row.get("dataset") or "pictures") for row in predictions],
                band=(low, high),
                title="True against predicted",
                truth=f"{truth} (1 to 5)",
                theme=theme,
            )
            for theme in THEMES
        ),
        alt=f"Scatter plot of {len(true)} pictures: {truth} against predicted score, "
        "with the diagonal",
        caption=f"{len(true)} pictures. On the dashed line both are equal; the band holds 95 % "
        f"of them: the {truth} less the prediction is between {low:+.2f} and {high:+.2f}.",
    )


def _losses(metrics: Iterable[Json]) -> str:
    from .canvas import THEMES
    from .plots import loss_curves

    rows = [row for row in metrics if row.get("loss") is not None]
    if not rows:
        return ""
    return figure_html(
        *(loss_curves(rows, theme=theme) for theme in THEMES),
        alt="Loss against training step, one panel per stage",
        caption="Loss by training step. Where a stage has many steps they are faint, and "
        "the line is their running mean.",
    )


def _bases(basis_vectors: npt.ArrayLike | None, basis_scores: npt.ArrayLike | None) -> str:
    from .canvas import THEMES
    from .maps import bases_2d

    count = 0 if basis_scores is None else len(np.asarray(basis_scores))
    if basis_vectors is None or basis_scores is None or count < 2:
        return ""
    return figure_html(
        *(bases_2d(basis_vectors, basis_scores, theme=theme) for theme in THEMES),
        alt=f"{count} basis vectors on two principal components, coloured by score",
        caption=f"{count} bases. A picture's score is the mean of the basis scores, "
        "weighted by how similar the picture is to each.",
    )


def _headline(evaluation: Evaluation | None, summary: Json) -> str:
    """Tiles: the main correlations with their intervals, then the run's own numbers."""
    tiles = []
    if evaluation is not None:
        datasets = list(evaluation.datasets.values())
        for metric in ("srcc", "plcc"):
            if len(datasets) == 1:
                low, high = datasets[0].intervals[metric]
                note = f"95 % interval {low:.3f} to {high:.3f}"
            else:
                note = f"mean of {len(datasets)} data sets"
            tiles.append((METRICS[metric].label, f"{evaluation.average[metric]:.3f}", note))
        rows = f"split {evaluation.split}" if evaluation.split else "in the evaluation"
        tiles.append(("Pictures evaluated", f"{evaluation.n:,}", rows))
    for name, value in summary.items():
        if (evaluation is not None and name in METRICS) or isinstance(value, bool):
            continue
        if name == "onnx_max_difference":
            tiles.append(("Torch against ONNX", f"{value:.1e}", "largest difference, 1–5 scale"))
        elif name == "seconds":
            tiles.append(("Time", _duration(float(value)), "all stages before this report"))
        elif isinstance(value, str | int | float):
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            label = METRICS[name].label if name in METRICS else name.replace("_", " ")
            tiles.append((label, text, ""))
    if not tiles:
        return ""
    cells = "".join(
        f"<div class=tile><dt>{escape(name)}</dt><dd>{escape(value)}"
        f"<small>{escape(note)}</small></dd></div>"
        for name, value, note in tiles
    )
    return f"<dl class=tiles>{cells}</dl>\n"


def _metrics_table(evaluation: Evaluation) -> str:
    head = "".join(f"<th scope=col>{escape(metric.label)}</th>" for metric in METRICS.values())
    lines = []
    for name, statistics in evaluation.datasets.items():
        cells = ""
        for metric in METRICS:
            low, high = statistics.intervals[metric]
            value = statistics.values[metric]
            cells += f"<td>{value:.3f} <small>{low:.3f} to {high:.3f}</small></td>"
        lines.append(f"<tr><th scope=row>{escape(name)}</th><td>{statistics.n:,}</td>{cells}</tr>")
    if len(lines) > 1:
        cells = "".join(f"<td>{value:.3f}</td>" for value in evaluation.average.values())
        lines.append(f"<tr class=total><th scope=row>average</th><td></td>{cells}</tr>")
    note = (
        "Small figures: 95 % bootstrap interval over pictures. PLCC (logistic) is measured after "
        "the 4-parameter VQEG logistic fitted to the same pictures; PLCC (raw) and RMSE are not."
    )
    note = escape(" ".join([note, *remarks(evaluation)]))
    return (
        "<div class=wide><table><thead><tr><th scope=col>data set</th><th scope=col>n</th>"
        f"{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div><p class=note>{note}</p>"
    )


def _stages_table(stages: Mapping[str, float]) -> str:
    total = sum(stages.values())
    lines = "".join(
        f"<tr><th scope=row>{escape(str(name))}</th><td>{_duration(seconds)}</td>"
        '<td class=bar><span style="width:'
        f'{100 * seconds / max(total, 1e-9):.1f}%"></span></td></tr>'
        for name, seconds in stages.items()
    )
    return (
        "<table class=stages><thead><tr><th scope=col>stage</th><th scope=col>time</th>"
        "<th scope=col class=bar>share</th></tr></thead>"
        f"<tbody>{lines}<tr class=total><th scope=row>together</th><td>{_duration(total)}</td>"
        "<td></td></tr></tbody></table>"
    )


def _examples(predictions: Sequence[Json], truth: str) -> str:
    """Ten pictures across the range of scores, and ten with the largest errors, worst first."""
    by_score = sorted(predictions, key=lambda row: -float(row["score"]))
    picks = np.unique(np.linspace(0, len(by_score) - 1, min(SHOWN, len(by_score))).round())
    spread = "".join(_card(by_score[int(index)], truth) for index in picks)
    worst = sorted(predictions, key=lambda row: -abs(float(row["score"]) - float(row["mos"])))
    errors = [abs(float(row["score"]) - float(row["mos"])) for row in worst]
    failing = "".join(_card(row, truth) for row in worst[:SHOWN])
    return section_html(
        f"{len(picks)} pictures with their scores",
        f'<div class="cards">{spread}</div>',
        "Evenly spaced from the highest to the lowest score, not chosen by hand.",
    ) + section_html(
        "Worst errors first",
        f'<div class="cards">{failing}</div>',
        f"The {min(SHOWN, len(worst))} largest errors. Half of all {len(worst)} pictures are "
        f"within {float(np.median(errors)):.2f} of the {truth}.",
    )


def _card(row: Json, truth: str) -> str:
    score, mos = float(row["score"]), float(row["mos"])
    what = str(row.get("distortion") or "").replace("null", "not degraded")
    if what and row.get("severity"):
        what += f", {row['severity']} of 5"
    lines = (
        f"<b>{score:.2f}</b> <span>predicted</span><br>"
        f'{mos:.2f} <span title="{escape(truth)}">true</span><br>'
        f"{round(score, 2) - round(mos, 2):+.2f} <span>error</span><br>"
    )
    name = Path(str(row["image"])).name
    alt = f"{name}{f' ({what})' if what else ''}, predicted {score:.2f}"
    return card_html(row["image"], alt, lines, what or name)


def _user_card(row: Json) -> str:
    name = Path(str(row["image"])).name
    error, score = row.get("error"), row.get("score")
    if error or score is None:
        reason = escape(str(error or "no score"))
        return card_html(None, f"{name}, not scored", f"<em>Not scored: {reason}</em><br>", name)
    lines = f"<b>{float(score):.2f}</b> <span>of 5</span><br>"
    return card_html(row["image"], f"{name}, score {float(score):.2f}", lines, name)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
