"""A calibrated interval around a score: split-conformal prediction (Vovk; Lei et al., 2018).

In: a model's errors on labelled pictures that it was not trained on. Out: for a level such as 0.9
a radius: score ± radius holds the human score of at least that share of new pictures, if they are
drawn like those. It promises nothing for other pictures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rali.errors import InputError
from rali.files import from_json, replace_atomically

from .model_folder import INTERVAL_FILE, check_owner, find_file, side_file

SMALLEST = 20


@dataclass(frozen=True)
class Interval:
    """A model's errors, from which intervals of any level follow.

    Attributes:
        errors: |score − human score| of each calibration picture, ascending.
        score_range: intervals are cut to it.
        source: the manifest and split that the errors come from.
        weights_sha256: identifies the student whose errors they are.
    """

    errors: tuple[float, ...]
    score_range: tuple[float, float] = (1.0, 5.0)
    source: str = ""
    weights_sha256: str = ""

    def radius(self, level: float) -> float:
        """The ⌈(n + 1) · level⌉-th smallest error: half the interval's width before it is cut.

        Raises:
            InputError: the level is not between 0 and 1, or too high for the number of pictures.
        """
        if not 0 < level < 1:
            raise InputError(f"A level lies between 0 and 1, such as 0.9; got {level:g}.")
        place = math.ceil((len(self.errors) + 1) * level - 1e-9)
        if place > len(self.errors):
            need = math.ceil(level / (1 - level) - 1e-9)
            raise InputError(
                f"An interval of level {level:g} needs {need} calibration pictures or more; there "
                f"are {len(self.errors)}. Type: rali calibrate MODEL_FOLDER MANIFEST"
            )
        return self.errors[place - 1]

    def around(self, score: float, level: float) -> tuple[float, float]:
        """The lowest and the highest human score to expect, inside the score range."""
        radius, (low, high) = self.radius(level), self.score_range
        return min(high, max(low, score - radius)), max(low, min(high, score + radius))


def calibrate(
    predicted: Sequence[float], mos: Sequence[float],
    score_range: tuple[float, float] = (1.0, 5.0), source: str = "", weights_sha256: str = "",
) -> Interval:  # fmt: skip
    """The interval of a model, from its scores [n] and human scores [n] of n pictures.

    Raises:
        InputError: fewer than 20 pictures, or numbers of scores that differ.
    """
    if len(predicted) != len(mos) or len(mos) < SMALLEST:
        raise InputError(
            f"Calibration needs {SMALLEST} pictures or more with a prediction and a human score "
            f"each; got {len(predicted)} and {len(mos)}."
        )
    errors = sorted(abs(p - m) for p, m in zip(predicted, mos, strict=True))
    return Interval(tuple(errors), score_range, source, weights_sha256)


def write_interval(interval: Interval, model: str | Path) -> Path:
    """Write it into a model folder or beside an ONNX file; returns the file."""
    path = side_file(model, INTERVAL_FILE)
    values = {
        "source": interval.source,
        "weights_sha256": interval.weights_sha256,
        "score_range": list(interval.score_range),
        "errors": [round(error, 5) for error in interval.errors],
    }
    replace_atomically(path, lambda target: target.write_text(json.dumps(values) + "\n", "utf-8"))
    return path


def read_interval(model: str | Path, weights_sha256: str = "") -> Interval:
    """A model's interval.

    Args:
        model: "builtin", a model folder, an ONNX file or a Hub id.
        weights_sha256: the model's own, by which another model's interval is refused.

    Raises:
        InputError: the model has none, it is another model's, or `rali calibrate` did not write
            the file.
    """
    path = find_file(model, INTERVAL_FILE)
    if path is None:
        raise InputError(
            f"{model} has no {INTERVAL_FILE}, which intervals need. Type: rali calibrate "
            "MODEL_FOLDER MANIFEST --split val"
        )
    try:
        values = from_json(path.read_bytes())
        low, high = values["score_range"]
        errors = tuple(sorted(float(error) for error in values["errors"]))
        if not all(0 <= error < math.inf for error in errors) or not float(low) < float(high):
            raise ValueError("an error is no distance, or the range has no width")
        owner = str(values.get("weights_sha256", ""))
        interval = Interval(errors, (float(low), float(high)), str(values.get("source", "")), owner)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(f"{path} is not a file of `rali calibrate`: {error}.") from error
    check_owner(path, owner, model, weights_sha256)
    return interval
