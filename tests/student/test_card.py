"""The model card: the Hub can read it, and it claims only what was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCard

from rali.data.manifest import Row
from rali.evaluation.evaluate import evaluate_predictions
from rali.report.evaluation import Evaluation
from rali.student.card import model_card

CONFIG = {"encoder": {"name": "nano"}, "preprocess": {"size": 224}, "score_range": [1, 5]}
TRAINING = {"data": ["BIQ2021 train", "a | b"], "pictures": 1945, "seed": 0, "notes": "Read <me>."}


def _evaluation(dataset: str) -> Evaluation:
    rows = [Row(Path(f"/{i}"), score=1 + i / 3, dataset=dataset) for i in range(12)]
    predictions = {row.image: float(i + (i % 3)) / 4 for i, row in enumerate(rows)}
    return replace(evaluate_predictions(predictions, rows), model="m", split="test")


def test_front_matter_is_what_the_hub_expects() -> None:
    evaluation = _evaluation("odd: 'name' #1")
    data: Any = ModelCard(model_card(CONFIG, evaluation, TRAINING, name="someone/model")).data
    assert data.license == "apache-2.0"
    assert data.library_name == "rali"
    assert data.model_name == "someone/model"
    results = {result.metric_type: result for result in data.eval_results}
    assert results["srcc"].dataset_name == "odd: 'name' #1"
    expected = evaluation.datasets["odd: 'name' #1"].values["srcc"]
    assert abs(results["srcc"].metric_value - expected) < 1e-4


def test_numbers_come_with_intervals_and_training_is_named() -> None:
    evaluation = _evaluation("koniq")
    text = model_card(CONFIG, evaluation, TRAINING, name="my model")
    low, high = evaluation.datasets["koniq"].intervals["plcc"]
    assert f"[{low:.3f}, {high:.3f}]" in text
    assert "BIQ2021 train, a \\| b" in text
    assert "Read <me>." in text
    assert "224 × 224" in text
    assert "--model 'my model'" in text


def test_nested_settings_are_a_block_below_the_table() -> None:
    training = {"pictures": 12, "versions": {"torch": "2"}, "config": {"fit": {"lr": 0.03}}}
    text = model_card(CONFIG, None, training)
    assert "| Versions | torch: 2 |" in text
    table, _, rest = text.partition("<details>")
    assert "0.03" not in table
    block = rest.partition("```json\n")[2].partition("\n```")[0]
    assert json.loads(block) == {"config": {"fit": {"lr": 0.03}}}


def test_limits_name_no_input_size_that_is_not_given() -> None:
    assert "input size above" in model_card(CONFIG, None, {})
    assert "input size above" not in model_card({"encoder": "x"}, None, {})


def test_the_builtin_is_loaded_by_its_name() -> None:
    text = model_card(CONFIG, None, {}, name="builtin")
    assert "scorer = Scorer()" in text
    assert "rali score photos/\n" in text
    assert "rali evaluate builtin manifest.csv" in text


def test_without_an_evaluation_it_says_so() -> None:
    text = model_card(CONFIG, None, {})
    assert "Not evaluated" in text
    assert "Not recorded" in text
    assert "RMSE" not in text
    assert "model-index" not in yaml.safe_load(text.split("---")[1])
