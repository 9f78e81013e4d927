"""A calibrated interval around a score: split-conformal prediction (Vovk; Lei et al., 2018).

In: a model's errors on labelled pictures that it was not trained on. Out: for a level such as 0.9
a radius, so that score ± radius holds the human score of at least that share of new pictures drawn
like those. It says nothing of pictures drawn otherwise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rali.errors import InputError
from rali.files import replace_atomically

from .model_folder import INTERVAL_FILE, find_file

SMALLEST = 20


@dataclass(frozen=True)
class Interval:
    """What a model's errors were.

    Attributes:
        errors: |score − human score| of each calibration picture, ascending.
        score_range: intervals are cut to it.
        source: the manifest and split they come from.
    """

    errors: tuple[float, ...]
    score_range: tuple[float, float] = (1.0, 5.0)
    source: str = ""

    def radius(self, level: float) -> float:
        """The ⌈(n + 1) · level⌉-th smallest error: half the interval's width before it is cut.

        Raises:
            InputError: a level not between 0 and 1, or too high for so few pictures.
        """
        if not 0 < level < 1:
            raise InputError(f"A level lies between 0 and 1, such as 0.9; got {level:g}.")
        place = math.ceil((len(self.errors) + 1) * level - 1e-9)
        if place > len(self.errors):
            need = math.ceil(level / (1 - level) - 1e-9)
            raise InputError(
                f"An interval of level {level:g} needs {need} calibration pictures or more; there "
                f"are {len(self.errors)}. Type: rali calibrate MODEL MANIFEST"
            )
        return self.errors[place - 1]

    def around(self, score: float, level: float) -> tuple[float, float]:
        """Lowest and highest human score that are to be expected, inside the score range."""
        radius, (low, high) = self.radius(level), self.score_range
        return max(low, score - radius), min(high, score + radius)


def calibrate(
    predicted: Sequence[float], mos: Sequence[float],
    score_range: tuple[float, float] = (1.0, 5.0), source: str = "",
) -> Interval:  # fmt: skip
    """The interval of a model whose scores and human scores of n pictures are given.

    Raises:
        InputError: fewer than 20 pictures, or not one prediction for each.
    """
    if len(predicted) != len(mos) or len(mos) < SMALLEST:
        raise InputError(
            f"Calibration needs {SMALLEST} pictures or more with a prediction and a human score "
            f"each; got {len(predicted)} and {len(mos)}."
        )
    errors = sorted(abs(p - m) for p, m in zip(predicted, mos, strict=True))
    return Interval(tuple(errors), score_range, source)


def write_interval(interval: Interval, folder: str | Path) -> Path:
    """Store it in a model folder; returns the file."""
    path = Path(folder) / INTERVAL_FILE
    found = {
        "source": interval.source,
        "score_range": list(interval.score_range),
        "errors": [round(error, 5) for error in interval.errors],
    }
    replace_atomically(path, lambda target: target.write_text(json.dumps(found) + "\n", "utf-8"))
    return path


def read_interval(model: str | Path) -> Interval:
    """The interval of "builtin", a model folder, an ONNX file in one, or a hub id.

    Raises:
        InputError: the model has none, or the file is not what it should be.
    """
    path = find_file(model, INTERVAL_FILE)
    if path is None:
        raise InputError(
            f"{model} has no {INTERVAL_FILE}, which intervals come from. Type: rali calibrate "
            "MODEL_FOLDER MANIFEST --split val"
        )
    try:
        found = json.loads(path.read_text("utf-8"))
        low, high = found["score_range"]
        errors = tuple(sorted(float(error) for error in found["errors"]))
        return Interval(errors, (float(low), float(high)), str(found.get("source", "")))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no file of `rali calibrate`: {error}.") from error
