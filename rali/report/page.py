"""One page on a run: `report.html`, which holds its pictures and plots and needs no network.

In: what a run knows (stages, losses, bases, predictions, statistics). Out: one HTML file, light or
dark as the reader's system is. Everything that comes from outside is escaped.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rali.errors import PictureError
from rali.files import replace_atomically
from rali.pictures.preprocess import shrink
from rali.pictures.read import open_picture

from .evaluation import LABELS, remarks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Json = Mapping[str, Any]
THUMBNAIL = 320  # pixels of the longer side; shown at about half of it
SHOWN = 10

CSS = """
:root{color-scheme:light dark;--bg:#f6f7f9;--box:#fff;--text:#1f2328;--muted:#5c6570;
--line:#dfe3e8;--accent:#0072b2;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--bg:#0d1117;--box:#161b22;--text:#e6edf3;
--muted:#9aa4af;--line:#2b323b;--accent:#56b4e9;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--text);line-height:1.5;
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1080px;margin:0 auto;padding:40px 20px 64px}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em}
h2{font-size:1.15rem;margin:0 0 8px}
.lead{color:var(--muted);margin:0;max-width:46em}
.note,figcaption,small{color:var(--muted);font-size:.85rem}
.note{margin:0 0 12px;max-width:52em}
section{background:var(--box);border:1px solid var(--line);border-radius:12px;
padding:20px 22px;margin:18px 0 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(175px,1fr));gap:12px;
margin:24px 0 0}
.tile{background:var(--box);border:1px solid var(--line);border-radius:12px;padding:14px 18px}
.tile dt{color:var(--muted);font-size:.85rem}
.tile dd{margin:2px 0 0;font-size:clamp(1.3rem,5.6vw,1.75rem);white-space:nowrap;
font-weight:650;letter-spacing:-.02em;line-height:1.25;
font-variant-numeric:tabular-nums}
.tile small{display:block;white-space:normal;font-weight:400;letter-spacing:0;font-size:.8rem}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(170px,1fr));gap:14px}
.card{margin:0;border:1px solid var(--line);border-radius:10px;overflow:hidden;min-width:0}
.card img,.none{display:block;width:100%;aspect-ratio:4/3;object-fit:contain;
background:var(--bg)}
.none{display:flex;align-items:center;justify-content:center;padding:10px;text-align:center;
color:var(--muted);font-size:.85rem;overflow-wrap:anywhere}
.card figcaption{padding:8px 12px 10px;color:var(--text);line-height:1.4;
font-variant-numeric:tabular-nums}
.card b{font-size:1.3rem}
.card span{color:var(--muted)}
.card em{color:var(--bad);font-style:normal;overflow-wrap:anywhere}
.card small{display:block;margin-top:3px;overflow-wrap:anywhere}
.plot{margin:0 0 22px;text-align:center}
.plot:last-child{margin-bottom:0}
.plot img{max-width:100%;height:auto}
.plot figcaption{max-width:46em;margin:6px auto 0}
.wide{overflow-x:auto}
.plot .wide img{max-width:max(100%,600px)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;margin:0 0 10px}
th,td{padding:7px 10px;text-align:right;border-bottom:1px solid var(--line);vertical-align:top}
thead th{color:var(--muted);font-size:.85rem;font-weight:500;white-space:nowrap}
th:first-child{text-align:left;padding-left:0}
tbody th{font-weight:500}
td small{display:block;white-space:nowrap}
.total th,.total td{border-bottom:0;font-weight:650}
.stages td{white-space:nowrap}
.stages .bar{width:50%;text-align:left}
.bar span{display:inline-block;height:10px;min-width:2px;border-radius:5px;
background:var(--accent)}
pre{overflow-x:auto;font-size:.82rem;line-height:1.45;margin:12px 0 0}
summary{cursor:pointer;color:var(--accent)}
@media(max-width:560px){.cards{grid-template-columns:repeat(2,1fr)}main{padding:24px 12px}
section{padding:16px 14px}}
@media print{section,.card{break-inside:avoid}}
"""


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
    evaluation: Json | None = None,
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
            "seconds": 301.2}; values that are not numbers or text are passed over, and so are
            metrics that `evaluation` has too.
        stages: seconds by stage, in order.
        metrics: rows of metrics.jsonl, {"stage", "step", "loss"}.
        basis_vectors: [K, M]. basis_scores: [K], 1 to 5.
        predictions: {"image", "score", "mos"} and optionally "distortion", "severity", "dataset".
        evaluation: what `rali.evaluation.evaluate.evaluate_predictions` returns.
        user_pictures: {"image", "score" or None, "error" or None}.
        config: the resolved configuration, shown as JSON.
        truth: what `mos` is, e.g. "human score" or "score of the degradation".
        sections: HTML of `section_html`, shown before the stages.

    Returns:
        The path written.
    """
    from . import plots

    path = Path(path)
    rows = [row for row in metrics if row.get("loss") is not None]
    parts = [_headline(evaluation, summary or {})]
    if user_pictures:
        cards = "".join(_user_card(row) for row in user_pictures)
        parts.append(section_html("Your pictures", f'<div class="cards">{cards}</div>'))
    if evaluation is not None:
        parts.append(section_html("Agreement", _metrics_table(evaluation)))
    if predictions:
        predicted = [float(row["score"]) for row in predictions]
        true = [float(row["mos"]) for row in predictions]
        band = plots.residual_band(predicted, true)
        drawn = figure_html(
            *(
                plots.scatter(
                    predicted,
                    true,
                    groups=[str(row.get("dataset") or "pictures") for row in predictions],
                    band=band,
                    title="Predicted against true",
                    truth=f"{truth} (1 to 5)",
                    theme=theme,
                )
                for theme in plots.THEMES
            ),
            alt=f"Scatter plot of {len(true)} pictures: predicted score against {truth}, "
            "with the diagonal",
            caption=f"{len(true)} pictures. On the dashed line both are equal; the band holds 95 % "
            f"of the errors: the {truth} lies between "
            f"{band[0]:+.2f} and {band[1]:+.2f} of the prediction.",
        )
        parts.append(section_html("Predicted and true scores", drawn))
        parts.append(_examples(predictions, truth))
    training = []
    if rows:
        training.append(
            figure_html(
                *(plots.loss_curves(rows, theme=theme) for theme in plots.THEMES),
                alt="Loss against training step, one panel per stage",
                caption="Loss by training step. Where a stage has many steps they are faint, and "
                "the line is their running mean.",
            )
        )
    count = 0 if basis_scores is None else len(np.asarray(basis_scores))
    if basis_vectors is not None and basis_scores is not None and count > 1:
        training.append(
            figure_html(
                *(plots.bases_2d(basis_vectors, basis_scores, theme=t) for t in plots.THEMES),
                alt=f"{count} basis vectors on two principal components, coloured by score",
                caption=f"{count} bases. A picture's score is the mean of the basis scores, "
                "weighted by how similar the picture is to each.",
            )
        )
    if training:
        parts.append(section_html("Training", "".join(training)))
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


def page_html(title: str, intro: str, body: str) -> str:
    lead = f"<p class=lead>{escape(intro)}</p>" if intro else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head>\n"
        f"<body><main><header><h1>{escape(title)}</h1>{lead}</header>\n{body}</main></body></html>\n"
    )


def section_html(title: str, body: str, note: str = "") -> str:
    note = f"<p class=note>{escape(note)}</p>" if note else ""
    return f"<section><h2>{escape(title)}</h2>{note}{body}</section>\n"


def _headline(evaluation: Json | None, summary: Json) -> str:
    """Tiles: the main correlations with their intervals, then the run's own numbers."""
    tiles = []
    if evaluation is not None:
        sets = list(evaluation["datasets"].values())
        for metric in ("srcc", "plcc"):
            if len(sets) == 1:
                low, high = sets[0]["intervals"][metric]
                note = f"95 % interval {low:.3f} to {high:.3f}"
            else:
                note = f"mean of {len(sets)} data sets"
            tiles.append((LABELS[metric], f"{evaluation['average'][metric]:.3f}", note))
        count = sum(numbers["n"] for numbers in sets)
        tiles.append(("Pictures judged", f"{count:,}", _split_note(evaluation)))
    for name, value in summary.items():
        if (evaluation is not None and name in LABELS) or isinstance(value, bool):
            continue
        if name == "onnx_max_difference":
            tiles.append(("Torch against ONNX", f"{value:.1e}", "largest difference, 1–5 scale"))
        elif name == "seconds":
            tiles.append(("Time", _duration(float(value)), "all stages"))
        elif isinstance(value, str | int | float):
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            tiles.append((LABELS.get(name, name.replace("_", " ")), text, ""))
    if not tiles:
        return ""
    cells = "".join(
        f"<div class=tile><dt>{escape(name)}</dt><dd>{escape(value)}"
        f"<small>{escape(note)}</small></dd></div>"
        for name, value, note in tiles
    )
    return f"<dl class=tiles>{cells}</dl>\n"


def _split_note(evaluation: Json) -> str:
    return f"split {evaluation['split']}" if evaluation.get("split") else "in the evaluation"


def _metrics_table(evaluation: Json) -> str:
    head = "".join(f"<th scope=col>{escape(label)}</th>" for label in LABELS.values())
    lines = []
    for name, numbers in evaluation["datasets"].items():
        cells = "".join(
            f"<td>{numbers[metric]:.3f} <small>{numbers['intervals'][metric][0]:.3f} to "
            f"{numbers['intervals'][metric][1]:.3f}</small></td>"
            for metric in LABELS
        )
        lines.append(f"<tr><th scope=row>{escape(name)}</th><td>{numbers['n']:,}</td>{cells}</tr>")
    if len(lines) > 1:
        cells = "".join(f"<td>{evaluation['average'][metric]:.3f}</td>" for metric in LABELS)
        lines.append(f"<tr class=total><th scope=row>average</th><td></td>{cells}</tr>")
    note = (
        "Small figures: 95 % bootstrap interval over pictures. PLCC (logistic) is measured after "
        "the 4-parameter VQEG logistic fitted to the same pictures, PLCC (raw) and RMSE are not."
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
    what = str(row.get("distortion") or "")
    if what and row.get("severity"):
        what += f", {row['severity']} of 5"
    lines = (
        f"<b>{score:.2f}</b> <span>predicted</span><br>"
        f'{mos:.2f} <span title="{escape(truth)}">true</span><br>'
        f"{score - mos:+.2f} <span>error</span><br>"
    )
    name = Path(str(row["image"])).name
    alt = f"{name}{f' ({what})' if what else ''}, predicted {score:.2f}"
    return _card_html(row["image"], alt, lines, what or name)


def _user_card(row: Json) -> str:
    name = Path(str(row["image"])).name
    error, score = row.get("error"), row.get("score")
    if error or score is None:
        reason = escape(str(error or "no score"))
        return _card_html(None, f"{name}, not scored", f"<em>Not scored: {reason}</em><br>", name)
    lines = f"<b>{float(score):.2f}</b> <span>of 5</span><br>"
    return _card_html(row["image"], f"{name}, score {float(score):.2f}", lines, name)


def _card_html(image: Any, alt: str, lines: str, foot: str) -> str:
    picture = "<div class=none>no picture</div>"
    if image is not None:
        try:
            picture = f'<img src="{thumbnail(image)}" alt="{escape(alt)}" loading="lazy">'
        except PictureError as error:
            picture = f"<div class=none>{escape(str(error))}</div>"
    caption = f"{lines}<small>{escape(foot)}</small>"
    return f"<figure class=card>{picture}<figcaption>{caption}</figcaption></figure>"


def thumbnail(source: Any, *, longer_side: int = THUMBNAIL) -> str:
    """A picture as a small JPEG in a `data:` address.

    Raises:
        PictureError: the picture cannot be read.
    """
    from PIL import Image

    picture = Image.fromarray(shrink(open_picture(source), longer=longer_side))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def figure_html(light: Figure, dark: Figure, *, alt: str, caption: str) -> str:
    from .plots import data_uri

    wide = " class=wide" if light.get_figwidth() > 7 else ""  # scrolls sideways on a phone
    return (
        f"<figure class=plot><div{wide}><picture>"
        f'<source media="(prefers-color-scheme: dark)" srcset="{data_uri(dark)}">'
        f'<img src="{data_uri(light)}" width="{96 * light.get_figwidth():.0f}" '
        f'alt="{escape(alt)}"></picture></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"
