"""The README of a model folder: a Hugging Face model card that says how good the model is.

In: the folder's configuration, its evaluation (or None) and how it was trained. Out: Markdown with
YAML front matter. Every number comes from the evaluation; without one the card says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rali.metrics import METRICS
from rali.report.evaluation import Evaluation, to_markdown
from rali.scoring.model_folder import BUILTIN, CARD_FILE, CONFIG_FILE

Json = Mapping[str, Any]

LIBRARY = "library_name: rali"
TAGS = ("image-quality-assessment", "iqa", "no-reference", "onnx", "rali")
TRAINING_LABELS = {
    "data": "Pictures",
    "pictures": "Number of pictures",
    "rationales": "Number of rationales",
    "truncated_texts": "Share of rationales cut at the text tower's context",
    "variance_kept": "Share of the variance that PCA keeps",
    "teacher": "Teacher",
    "versions": "Versions",
}
LIMITS = (
    "It scores technical and perceptual quality as the data it was trained on does. It does not "
    "score content, taste, truth or whether a picture fits a prompt.",
    "Pictures unlike its training data (drawings, screenshots, medical or satellite pictures, "
    "other distortions) may get scores that mean little. Evaluate on your own before use.",
    "It sees a picture at the input size above, and misses flaws that vanish at that size.",
    "It sees the square in the middle of a picture that is not square.",
    "Differences smaller than its RMSE are within its error for single pictures.",
)


def model_card(
    config: Json, evaluation: Evaluation | None, training: Json, *, name: str = ""
) -> str:
    """The card of a model folder.

    Args:
        config: the folder's config.json, of which "encoder" (a name, or {"name": …}), "preprocess"
            ({"size": …}) and "score_range" are shown.
        evaluation: as `rali.evaluation.evaluate` returns it; None where there is none.
        training: what it was trained on, by name; the names in `TRAINING_LABELS` get a label,
            others are shown as they are, nested settings as JSON below the table. "notes" (text
            or list) becomes paragraphs.
        name: the model's name, which the usage lines load ("builtin", a folder or a Hub id).

    Returns:
        Markdown, with front matter that the Hugging Face Hub reads.
    """
    title = name or "rali student"
    parts = [
        _front_matter(title, evaluation),
        f"# {_text(title)}",
        _what_it_is(config),
        "## How to use it",
        _usage(name or "path/to/this/folder"),
        "## What it was trained on",
        _training(training),
        "## How well it does",
        _results(evaluation),
        "## Limits",
        _limits(config, evaluation),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def has_own_readme(folder: Path) -> bool:
    """Whether the folder's README is somebody's own: there, and without the card's `LIBRARY`."""
    try:
        return LIBRARY not in (folder / CARD_FILE).read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return False


def _front_matter(title: str, evaluation: Evaluation | None) -> str:
    """YAML front matter, with values written as JSON so that no name can break out of its line."""
    lines = ["license: apache-2.0", LIBRARY, "tags:", *(f"- {tag}" for tag in TAGS)]
    if evaluation is not None:
        results = [
            {
                "task": {"type": "image-quality-assessment", "name": "Image quality assessment"},
                "dataset": {"type": dataset, "name": dataset}
                | ({"split": evaluation.split} if evaluation.split else {}),
                "metrics": [
                    {"type": metric, "value": round(statistics.values[metric], 4)}
                    for metric in METRICS
                ],
            }
            for dataset, statistics in evaluation.datasets.items()
        ]
        model = {"name": title, "results": results}
        lines += ["model-index:", f"- {json.dumps(model, ensure_ascii=False)}"]
    return "\n".join(["---", *lines, "---"])


def _what_it_is(config: Json) -> str:
    encoder = config.get("encoder")
    if isinstance(encoder, Mapping):
        encoder = encoder.get("name")
    low, high = config.get("score_range") or (1, 5)
    size = (config.get("preprocess") or {}).get("size")
    sentences = [
        f"Scores the quality of a picture from {low:g} (bad) to {high:g} (excellent), "
        "without a reference."
    ]
    if encoder:
        sentences.append(f"Image encoder: `{_text(encoder)}`.")
    if size:
        sentences.append(f"Input: {size} × {size} pixels, resized as {CONFIG_FILE} says.")
    sentences.append(
        "The score is a similarity-weighted mean over basis vectors, distilled from texts about "
        "picture quality and scores (RALI)."
    )
    return " ".join(sentences)


def _usage(model: str) -> str:
    builtin = model == BUILTIN
    argument = "" if builtin else json.dumps(model, ensure_ascii=False)
    option = "" if builtin else f" --model {_shell(model)}"
    return "\n".join(
        [
            "```python",
            "from rali import Scorer",
            "",
            f"scorer = Scorer({argument})",
            'scorer("photo.jpg")              # one score',
            'scorer(["a.jpg", "b.png"])       # an array of scores',
            "```",
            "",
            "```sh",
            "pip install rali",
            f"rali score photos/{option}",
            f"rali evaluate {_shell(model)} manifest.csv --split test",
            "```",
        ]
    )


def _training(training: Json) -> str:
    given = {k: v for k, v in training.items() if k != "notes" and v is not None}
    nested = {key: value for key, value in given.items() if _is_nested(value)}
    facts = [
        f"| {_text(TRAINING_LABELS.get(key, key.replace('_', ' ')))} | {_text(value)} |"
        for key, value in given.items()
        if key not in nested
    ]
    notes = training.get("notes") or []
    notes = [notes] if isinstance(notes, str) else list(notes)
    table = "\n".join(["| | |", "| --- | --- |", *facts]) if facts else ""
    block = ""
    if nested:
        text = json.dumps(nested, indent=2, ensure_ascii=False, default=str)
        block = f"<details><summary>Settings</summary>\n\n```json\n{text}\n```\n\n</details>"
    return "\n\n".join(part for part in (table, *notes, block) if part) or "Not recorded."


def _is_nested(value: Any) -> bool:
    """Whether it is a mapping of mappings, which would be one endless line in the table."""
    return isinstance(value, Mapping) and any(isinstance(v, Mapping) for v in value.values())


def _results(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return "Not evaluated. To do so: `rali evaluate MODEL MANIFEST --split test`."
    table = to_markdown(evaluation).partition("\n\n")[2].strip()  # the card has its own heading
    rows = f"split `{evaluation.split}`" if evaluation.split else "all labelled rows"
    return f"On {rows} of each data set:\n\n{table}"


def _limits(config: Json, evaluation: Evaluation | None) -> str:
    """The limits without those that refer to a number that the card does not have."""
    shown = list(LIMITS)
    if not (config.get("preprocess") or {}).get("size"):
        shown = [line for line in shown if "input size above" not in line]
    if (config.get("preprocess") or {}).get("resize_mode") != "shortest":
        shown = [line for line in shown if "not square" not in line]
    if evaluation is None:
        shown = [line for line in shown if "RMSE" not in line]
    return "\n".join(f"- {line}" for line in shown)


def _text(value: Any) -> str:
    """A value as one line of Markdown that no `|`, newline or tag in it can break."""
    if isinstance(value, Mapping):
        value = ", ".join(f"{key}: {item}" for key, item in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        value = ", ".join(str(item) for item in value)
    elif isinstance(value, float):
        value = f"{value:.6g}"
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")


def _shell(text: str) -> str:
    import shlex

    return shlex.quote(text)
