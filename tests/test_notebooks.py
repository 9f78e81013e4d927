"""The notebooks run from top to bottom, as a reader would run them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

BOOKS = Path(__file__).parent.parent / "examples" / "notebooks"


def run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What each cell of code shows."""
    beside = str(Path(sys.executable).parent)  # `!rali` is this environment's
    monkeypatch.setenv("PATH", f"{beside}{os.pathsep}{os.environ['PATH']}")
    book = nbformat.read(BOOKS / f"{name}.ipynb", as_version=4)
    NotebookClient(book, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return [json.dumps(cell.outputs) for cell in book.cells if cell.cell_type == "code"]


def test_no_outputs_are_kept() -> None:
    books = [nbformat.read(path, as_version=4) for path in sorted(BOOKS.glob("*.ipynb"))]
    assert len(books) == 3
    assert not any(cell.get("outputs") for book in books for cell in book.cells)


@pytest.mark.slow
def test_score_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("score_photographs", tmp_path, monkeypatch)
    assert "broken.jpg: " in shown[2]
    assert "image/png" in shown[3]
    assert (tmp_path / "page.html").is_file() and (tmp_path / "scores.csv").is_file()


@pytest.mark.slow
def test_study_image_quality(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("study_image_quality", tmp_path, monkeypatch)
    (found,) = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())[
        "datasets"
    ].values()
    assert -1 <= found["srcc"] <= 1


@pytest.mark.slow
def test_reward_a_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("reward_a_generator", tmp_path, monkeypatch)
    steps = json.loads(json.loads(shown[1])[0]["data"]["text/plain"])
    assert steps[-1] > steps[0]
