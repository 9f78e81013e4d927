"""The report of a teacher's training: what the papers draw, from what the run logged.

In: a run folder. Out: its `report.html` with rewards and KL divergence over steps, the spread of
predicted scores per data set (VisualQuality-R1, Fig. 3), validation correlations, and what the
teacher wrote about the probe pictures each time (Fig. 4).
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from rali.errors import InputError, PictureError
from rali.files import replace_atomically
from rali.report.blocks import figure_html, page_html, section_html, thumbnail
from rali.report.canvas import THEMES
from rali.report.plots import curves
from rali.runs.config import read_yaml
from rali.runs.folder import RunFolder, read_rows

from .advice import advice
from .watch import PROBES

Points = list[tuple[float, float]]


def training_curves(rows: list[dict[str, Any]]) -> dict[str, dict[str, Points]]:
    """Panels for `rali.report.plots.curves`: {quantity: {series: [(step, value), …]}}.

    Args:
        rows: those of metrics.jsonl.
    """
    panels: dict[str, dict[str, Points]] = {}

    def add(panel: str, series: str, row: dict[str, Any], name: str) -> None:
        if row.get(name) is not None:
            point = float(row["step"]), float(row[name])
            panels.setdefault(panel, {}).setdefault(series, []).append(point)

    for row in rows:
        stage, _, dataset = row["stage"].partition("/")
        if stage == "validate":
            for name, panel in (("srcc", "validation SRCC"), ("spread", "validation spread")):
                add(panel, dataset, row, name)
            continue
        for name in row:
            kind, _, rest = name.partition("/")
            if kind == "reward" and rest:
                add("reward by task", rest, row, name)
            elif kind == "spread":
                add("spread of a picture's scores", rest, row, name)
        if "reward" in row:
            add("reward", "mean", row, "reward")
            add("KL divergence from the start", "mean", row, "kl")
            add("length of a completion, tokens", "mean", row, "completions/mean_length")
        else:
            add("loss", "mean", row, "loss")
    order = ("reward", "reward by task", "loss", "KL divergence from the start")
    ranked = sorted(panels, key=lambda name: order.index(name) if name in order else len(order))
    return {name: panels[name] for name in ranked}


def training_section(run: RunFolder, title: str = "Training") -> str:
    """A report's section with the curves of a teacher's training.

    Raises:
        InputError: nothing was logged.
    """
    panels = training_curves(run.metrics())
    if not panels:
        raise InputError(f"{run.folder} holds no metrics of a teacher's training.")
    figures = [curves(panels, theme=theme) for theme in THEMES]
    caption = "Where there are many steps they are faint, and the line is their running mean."
    return section_html(title, figure_html(*figures, alt=", ".join(panels), caption=caption))


def write_teacher_report(folder: str | Path) -> Path:
    """Write `folder/report.html`.

    Raises:
        InputError: the folder holds no training, or nothing was logged in it.
    """
    run = RunFolder(Path(folder))
    config = read_yaml(run.folder / "config.yaml")
    tips = "".join(f"<li>{escape(text)}</li>" for text in advice(run.metrics()).values())
    parts = [
        training_section(run),
        section_html("What to try", f"<ul>{tips}</ul>") if tips else "",
        _probes(run.folder / PROBES),
        section_html(
            "Configuration",
            "<details><summary>Show the configuration</summary><pre>"
            f"{escape(json.dumps(config, indent=2, ensure_ascii=False))}</pre></details>",
        ),
    ]
    intro = f"A teacher that started as {config.get('model', 'a model of its own')}."
    path = run.folder / "report.html"
    page = page_html("rali teach", intro, "".join(parts))
    replace_atomically(path, lambda target: target.write_text(page, "utf-8"))
    return path


def _probes(file: Path) -> str:
    """Each probe picture with the texts about it, from the first step to the last."""
    texts: dict[str, dict[int, str]] = {}
    for row in read_rows(file, "image", "step", "text"):
        texts.setdefault(row["image"], {})[row["step"]] = row["text"]
    if not texts:
        return ""
    blocks = []
    for image, by_step in texts.items():
        try:
            picture = f'<img src="{thumbnail(image)}" alt="{escape(Path(image).name)}">'
        except PictureError as error:
            picture = escape(str(error))
        lines = "".join(
            f"<tr><th scope=row>step {step}</th><td class=said>{escape(text)}</td></tr>"
            for step, text in sorted(by_step.items())
        )
        blocks.append(f"<div class=probe>{picture}<table><tbody>{lines}</tbody></table></div>")
    return section_html(
        "What it wrote about the probe pictures",
        "<style>.probe{display:flex;gap:16px;align-items:flex-start;margin:0 0 18px}"
        ".probe img{width:180px;border-radius:8px}td.said{text-align:left}"
        "@media(max-width:560px){.probe{display:block}}</style>" + "".join(blocks),
        "The likeliest text each time (temperature 0).",
    )
