"""Commands ask published teachers as their authors do, for degradations and comparisons too."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scripted import Script
from typer.testing import CliRunner

from rali.cli import app
from rali.data.manifest import Row, write_manifest
from rali.teacher.learned import learned, note_prompts
from rali.teacher.questions import find_prompt

TRAINED, COMPARING = "ByteDance/Q-Insight/score_degradation", "ByteDance/Q-Insight/comparison"
NOISE = '<think>Grain.</think><answer>{"distortion_class": "noise", "severity": "slight"}</answer>'


class Answers(Script):
    """Answers each task, and notes how it was asked."""

    def generate(self, requests, sampling):
        self.how = [(request.prompt, sampling) for request in requests]
        self.seen = [*getattr(self, "seen", []), *self.how]
        texts = {"degradation": NOISE, "comparison": "<think>x</think><answer>Image A</answer>"}
        return [texts.get(request.prompt.task, "Sharp.") for request in requests]


@pytest.fixture
def engine(monkeypatch) -> Answers:
    """The engine of every command."""
    found = Answers()
    for place in ("teach_ask", "teach_compare", "evaluate"):
        monkeypatch.setattr(f"rali.cli.{place}.engine_of", lambda *_, **__: found)
    return found


@pytest.fixture
def pictures(tmp_path) -> list[Path]:
    for index in range(3):
        picture = Image.fromarray(np.full((9, 9, 3), 60 * index, np.uint8))
        picture.save(tmp_path / f"{index}.png")
    return sorted(tmp_path.glob("*.png"))


def run(*words: object):
    return CliRunner().invoke(app, [*map(str, words)], catch_exceptions=True)


def asked(result) -> list[str]:
    assert result.exit_code == 0, result.exception or result.output
    return [line for line in result.stderr.splitlines() if line.startswith("asked: ")]


def test_perceive_asks_as_the_demo_does_unless_told_otherwise(engine, pictures, tmp_path):
    words = ("teach", "perceive", pictures[0], "-m", TRAINED)
    (line,) = asked(run(*words))
    assert line == (
        "asked: q-insight/degradation-released: 1 text a picture, temperature 1, top_p 0.95, top_k "
        "50, at most 1024 tokens (as in Q-Insight's demo_dist.py)."
    )
    ((prompt, sampling),) = engine.how
    assert (prompt.name, sampling.top_k) == ("q-insight/degradation-released", 50)
    (line,) = asked(run(*words, "--temperature", 0, "--top-k", 3, "--top-p", 0.5))
    assert "temperature 0, at most 1024 tokens." in line and "demo" not in line
    assert (engine.how[0][1].top_k, engine.how[0][1].top_p) == (3, 0.5)
    (line,) = asked(run(*words, "--all-classes"))
    assert line.startswith("asked: q-insight/degradation-released-12: ") and "demo" not in line
    assert engine.how[0][0].text.endswith("<image>") and "pixelate" in engine.how[0][0].text
    (line,) = asked(run("teach", "perceive", pictures[0]))
    assert line.startswith("asked: q-insight/degradation: 1 text a picture, temperature 0, at most")
    own = tmp_path / "own.yaml"
    own.write_text("text: What is wrong with <image>?\nclasses: [noise, blur]\n")
    (line,) = asked(run(*words, "--prompt", own))
    assert line.startswith("asked: own: 1 text a picture, temperature 0, at most 512")
    refused = run(*words, "--prompt", "q-insight/score")
    assert "needs a prompt for a degradation" in str(refused.exception)


def test_describe_asks_a_question_of_ones_own(engine, pictures, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("text: <image> In a word?\nanswer: text\n")
    result = run("teach", "describe", pictures[0], "--prompt", own)
    assert asked(result) == ["asked: own: 1 text a picture, temperature 0, at most 512 tokens."]
    assert "description: Sharp." in result.stdout
    refused = run("teach", "describe", pictures[0], "--prompt", "q-insight/score")
    assert "needs a prompt for a description" in str(refused.exception)


def test_compare_asks_as_the_demo_does_where_there_is_a_reference(engine, pictures, tmp_path):
    a, b, reference = pictures
    words = ("teach", "compare", a, b, "-m", COMPARING)
    (line,) = asked(run(*words, "--reference", reference))
    assert line == (
        "asked: q-insight/compare-released: 1 text for each order of a pair, temperature 1, top_p "
        "0.95, top_k 50, at most 1024 tokens (as in Q-Insight's demo_comparison.py)."
    )
    assert [prompt.name for prompt, _ in engine.how] == ["q-insight/compare-released"] * 2
    (line,) = asked(run(*words, "--reference", reference, "--temperature", 0))
    assert "compare-released: 1 text for each order of a pair, temperature 0, at most 1024" in line
    (line,) = asked(run(*words))
    assert line.startswith(
        "asked: q-insight/compare: 1 text for each order of a pair, temperature 0"
    )
    engine.seen, table = [], tmp_path / "pairs.csv"
    table.write_text(f"image_a,image_b,result,reference\n{a},{b},A,\n{b},{a},B,{reference}\n")
    result = run("teach", "compare", table, "-m", COMPARING, "-o", tmp_path / "x.csv")
    assert [line.split(": ")[1] for line in asked(result)] == [
        "q-insight/compare", "q-insight/compare-released"
    ]  # fmt: skip
    drawn = [
        (prompt.name.removeprefix("q-insight/"), how.temperature) for prompt, how in engine.seen
    ]
    assert drawn == [("compare", 0)] * 2 + [("compare-released", 1)] * 2
    with (tmp_path / "x.csv").open() as file:
        assert [row["a"] for row in csv.DictReader(file)] == [str(a), str(b)]


def test_the_suite_of_degradations_asks_as_perceive_does(engine, pictures, tmp_path):
    rows = [Row(path, dataset="degraded", distortion="noise", severity=1) for path in pictures]
    write_manifest(rows, tmp_path / "m.csv")
    words = (tmp_path / "m.csv", "--suite", "degradation", "--engine-set", "dtype=float32")
    (line,) = asked(run("evaluate", f"teacher:{TRAINED}", *words))
    assert line.startswith("asked: q-insight/degradation-released: ") and "demo_dist" in line
    assert {prompt.name for prompt, _ in engine.how} == {"q-insight/degradation-released"}
    (line,) = asked(run("evaluate", f"teacher:{TRAINED}", *words, "--temperature", 0.5))
    assert "temperature 0.5, top_p 0.95, top_k 50" in line and "demo" not in line
    (line,) = asked(run("evaluate", "teacher:nano", *words))
    assert line.startswith("asked: q-insight/degradation: 1 text a picture, temperature 0, at most")


def test_a_trained_teacher_is_asked_what_it_learned(engine, pictures, tmp_path):
    names = ("q-insight/score", "q-insight/degradation-trained", "q-insight/compare-released")
    note_prompts(learned("nano", [find_prompt(name) for name in names]), tmp_path)
    (line,) = asked(run("teach", "perceive", pictures[0], "-m", tmp_path))
    assert line.startswith("asked: q-insight/degradation-trained: ") and "trained on" in line
    words = ("teach", "compare", *pictures[:2], "-m", tmp_path)
    (line,) = asked(run(*words, "--reference", pictures[2]))
    assert line.startswith("asked: q-insight/compare-released: ") and "trained on" in line
    (line,) = asked(run(*words))
    assert line.startswith("asked: q-insight/compare: ") and "trained on" not in line
