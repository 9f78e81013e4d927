"""A filter for Data-Juicer: samples whose pictures have the quality that is asked for.

    pip install rali py-data-juicer

    # in the recipe (YAML); dj-process --config recipe.yaml
    custom_operator_paths: ["data_juicer_filter.py"]
    process:
      - rali_filter:
          min_score: 3.0

Copy this file beside the recipe. The scores are kept in the sample's stats as `rali_scores`, one
per picture, null where a picture cannot be scored: such a picture never meets the condition.
"""

from __future__ import annotations

import math
from typing import Any

from data_juicer.ops.base_op import OPERATORS, Filter
from data_juicer.utils.constant import Fields
from loguru import logger

from rali import Scorer

STATS = "rali_scores"


@OPERATORS.register_module("rali_filter")
class RaliFilter(Filter):
    """Keeps samples by the quality of their pictures, from 1 (bad) to 5 (excellent)."""

    def __init__(
        self,
        min_score: float = 3.0,
        max_score: float = 5.0,
        any_or_all: str = "any",
        model: str = "builtin",
        *args,
        **kwargs,
    ):
        """
        Initialization method.

        :param min_score: the lowest score that is kept, 1–5.
        :param max_score: the highest score that is kept, 1–5.
        :param any_or_all: whether any or all pictures of a sample must have such a score; a sample
            without pictures is kept.
        :param model: a model for rali: builtin, a folder or a Hub id.
        """
        super().__init__(*args, **kwargs)
        if any_or_all not in ("any", "all"):
            raise ValueError(f"any_or_all must be any or all, got {any_or_all}.")
        self.min_score, self.max_score = min_score, max_score
        self.enough = any if any_or_all == "any" else all
        self.scorer = Scorer(model, threads=1)  # Data-Juicer starts a process per core

    def compute_stats_single(self, sample: dict[str, Any], context: bool = False) -> dict[str, Any]:
        if STATS in sample[Fields.stats]:
            return sample
        paths = sample.get(self.image_key) or []
        pictures = sample.get(self.image_bytes_key) or paths
        scores = []
        for result, name in zip(self.scorer.score_many(pictures), paths or pictures, strict=True):
            if result.score is None:
                logger.warning(f"{str(name)[:200]}: {result.error}")
            scores.append(math.nan if result.score is None else result.score)
        sample[Fields.stats][STATS] = scores
        return sample

    def process_single(self, sample: dict[str, Any]) -> bool:
        # Between the two steps Data-Juicer makes None of NaN. It keeps samples that raise an error.
        scores = [score or math.nan for score in sample[Fields.stats][STATS]]
        kept = [self.min_score <= score <= self.max_score for score in scores]
        return not kept or self.enough(kept)
