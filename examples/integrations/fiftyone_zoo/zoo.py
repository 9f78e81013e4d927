"""A model source for FiftyOne: each picture's quality as a `Regression` label.

    pip install rali fiftyone
    foz.register_zoo_model_source("https://example.org/rali.zip")  # an archive of this folder
    model = foz.load_zoo_model("rali")
    dataset.apply_model(model, label_field="quality")

Host this folder as an archive or a repository of your own. FiftyOne decodes the pictures; each gets
a value from 1 (bad) to 5 (excellent), and how sure people would be of it in `low` and `high`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fiftyone as fo
import numpy as np
from fiftyone.core.models import Model

from rali import PictureError, Scorer


def download_model(model_name: str, model_path: str) -> None:
    """Nothing to fetch: the model comes with rali. The file shows FiftyOne that it is there."""
    Path(model_path).write_text("rali's built-in model\n", "utf-8")


def load_model(model_name: str, model_path: str, **options: Any) -> Model:
    """`model`, `interval` (0.9) and options of `rali.Scorer`, from `foz.load_zoo_model`."""
    return Quality(**options)


class Quality(Model):
    """A picture to a `fiftyone.Regression`, with the attributes `low` and `high`."""

    media_type = "image"
    ragged_batches = True  # pictures of any size, one by one
    transforms = None
    preprocess = False

    def __init__(
        self, model: str = "builtin", interval: float | None = 0.9, **options: Any
    ) -> None:
        self.scorer, self.interval = Scorer(model, **options), interval

    def predict(self, picture: np.ndarray) -> fo.Regression:
        return self.predict_all([picture])[0]

    def predict_all(self, pictures: list[np.ndarray]) -> list[fo.Regression]:
        labels = []
        for result in self.scorer.score_many(list(pictures), interval=self.interval):
            if result.score is None:
                raise PictureError(result.error)
            labels.append(fo.Regression(value=result.score, low=result.low, high=result.high))
        return labels
