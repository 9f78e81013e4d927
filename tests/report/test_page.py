"""The report stands alone, shows what it was given and escapes it; the figures draw."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rali.data.manifest import Row
from rali.errors import InputError
from rali.evaluation.evaluate import evaluate_predictions
from rali.report import canvas, maps, plots
from rali.report.page import write_report

BAD = '<script>alert("x")</script>&'


class Page(HTMLParser):
    """Collects tags, addresses and pictures without an alternative text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.silent = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.addresses += [found[key] or "" for key in ("src", "href", "srcset") if key in found]
        if tag == "img" and not found.get("alt"):
            self.silent += 1


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    predictions: list[dict[str, Any]] = []
    rows = []
    for index in range(14):
        path = tmp_path / f"{index}.png"
        Image.fromarray(rng.integers(0, 255, (30, 50, 3), np.uint8)).save(path)
        mos = 1 + index / 4
        score = mos + (0.1 if index != 6 else 1.5)
        predictions.append(
            {"image": str(path), "score": score, "mos": mos, "distortion": BAD, "severity": 2}
        )
        rows.append(Row(path, score=mos, dataset=BAD))
    evaluation = evaluate_predictions(
        {Path(row["image"]): row["score"] for row in predictions}, rows
    )
    return {
        "title": f"Run {BAD}",
        "intro": BAD,
        "summary": {"onnx_max_difference": 2.5e-6, "seconds": 301.2, "stages": {}},
        "stages": {f"align {BAD}": 10.0, "fit": 2.5},
        "metrics": [{"stage": BAD, "step": i, "loss": 1 / (i + 1)} for i in range(60)]
        + [{"stage": "fit", "step": 1, "val_srcc": 0.5}],
        "basis_vectors": rng.normal(size=(20, 8)),
        "basis_scores": np.linspace(1, 5, 20),
        "predictions": predictions,
        "evaluation": evaluation,
        "user_pictures": [
            {"image": str(tmp_path / "1.png"), "score": 4.25, "error": None},
            {"image": f"/gone/{BAD}.jpg", "score": None, "error": f"cannot be read {BAD}"},
        ],
        "config": {"seed": 0, "note": BAD},
    }


def test_report_is_whole_and_escaped(content: dict[str, Any], tmp_path: Path) -> None:
    text = write_report(tmp_path / "run" / "report.html", **content).read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert page.addresses and all(address.startswith("data:image/") for address in page.addresses)
    assert page.silent == 0
    assert "http" not in re.sub(r"data:image/[^\"]+", "", text)
    low, high = content["evaluation"].datasets[BAD].intervals["srcc"]
    for shown in (f"{low:.3f} to {high:.3f}", "4.25", "Not scored: cannot be read", "5 min 01 s"):
        assert shown in text


def test_a_logistic_that_was_not_fitted_is_said(content: dict[str, Any], tmp_path: Path) -> None:
    first = [
        Row(Path(row["image"]), score=row["mos"], dataset=BAD) for row in content["predictions"]
    ]
    few = evaluate_predictions({row.image: row.score or 0.0 for row in first[:4]}, first[:4])
    text = write_report(tmp_path / "r.html", title="t", evaluation=few).read_text(encoding="utf-8")
    assert "No logistic could be fitted to &lt;script&gt;" in text
    assert "script" not in Page(text).tags


def test_worst_error_comes_first(content: dict[str, Any], tmp_path: Path) -> None:
    text = write_report(tmp_path / "report.html", **content).read_text(encoding="utf-8")
    worst = text.partition("Worst errors first")[2].partition("</section>")[0]
    assert worst.count("<figcaption>") == 10
    assert "+1.50" in worst.partition("</figcaption>")[0]


def test_sections_without_data_are_left_out(tmp_path: Path) -> None:
    text = write_report(tmp_path / "report.html", title="Empty").read_text(encoding="utf-8")
    assert "<section" not in text


def test_a_picture_that_is_gone_shows_the_reason(tmp_path: Path) -> None:
    row = {"image": str(tmp_path / "gone.png"), "score": 2.0, "mos": 3.0}
    page = write_report(tmp_path / "r.html", title="t", predictions=[row] * 3)
    assert "class=none" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("theme", list(canvas.THEMES))
def test_figures_draw_in_both_themes(theme: canvas.ThemeName, tmp_path: Path) -> None:
    figures = [
        plots.scatter([1, 2, 3], [1, 3, 2], groups=["a", "b$", "a"], band=(-1, 1), theme=theme),
        plots.loss_curves([{"stage": "$x_{", "step": 1, "loss": 2.0}], theme=theme),
        maps.bases_2d(np.eye(3), [1, 3, 5], theme=theme),
    ]
    for figure in figures:
        canvas.save_figure(figure, tmp_path / "figure.png")
        with Image.open(tmp_path / "figure.png") as picture:
            assert len(set(np.asarray(picture.convert("L")).ravel())) > 10
        canvas.save_figure(figure, tmp_path / "figure.SVG")
        assert "<svg" in (tmp_path / "figure.SVG").read_text("utf-8")
        canvas.save_figure(figure, tmp_path / "figure.pdf")
        assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


def test_residual_band_holds_95_percent() -> None:
    errors = np.linspace(-1, 1, 2001)
    assert plots.residual_band(np.zeros(2001), errors) == pytest.approx((-0.95, 0.95))


def test_what_cannot_be_drawn_is_an_error() -> None:
    with pytest.raises(InputError, match="two equal lists"):
        plots.scatter([1, 2], [1])
    with pytest.raises(InputError, match="no rows with a loss"):
        plots.loss_curves([{"stage": "fit", "step": 1}])
    with pytest.raises(InputError, match="Bases are vectors"):
        maps.bases_2d([[1, 2]], [1, 2])
