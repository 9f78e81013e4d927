"""A stage for NeMo Curator: pictures below a quality leave their batch.

    pip install rali nemo-curator
    from nemo_curator_stage import RaliFilterStage
    pipeline.add_stage(RaliFilterStage(at_least=3.0))

Copy this file into your project. It takes the batches of `ImageReaderStage` (pixels) and any other
`ImageBatch` (paths), runs on the processor, and needs no embeddings. A picture's score
is in `metadata["rali_score"]`; how many stay, and why one has no score, is logged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from loguru import logger
from nemo_curator.stages.base import ProcessingStage
from nemo_curator.stages.resources import Resources
from nemo_curator.tasks import ImageBatch

from rali import Scorer


@dataclass
class RaliFilterStage(ProcessingStage[ImageBatch, ImageBatch]):
    """Keeps pictures that score `at_least` (1–5) or more; one core per worker.

    `at_least=None` keeps all of them, those without a score too, and only writes the scores.
    """

    at_least: float | None = 3.0
    model: str = "builtin"
    name: str = "rali_filter"

    def __post_init__(self) -> None:
        self.resources = Resources(cpus=1.0)

    def inputs(self) -> tuple[list[str], list[str]]:
        return ["data"], []

    def outputs(self) -> tuple[list[str], list[str]]:
        return ["data"], []

    def setup(self, _worker_metadata: Any = None) -> None:
        self.scorer = Scorer(self.model, threads=1)

    def process(self, task: ImageBatch) -> ImageBatch:
        pictures = [p.image_path if p.image_data is None else p.image_data for p in task.data]
        kept = []
        for picture, result in zip(task.data, self.scorer.score_many(pictures), strict=True):
            picture.metadata["rali_score"] = result.score
            if result.score is None:
                logger.warning(f"{picture.image_path or picture.image_id}: {result.error}")
            if self.at_least is None or (result.score or 0) >= self.at_least:
                kept.append(picture)
        logger.info(f"{self.name}: {len(kept)} of {len(task.data)} pictures stay.")
        return replace(task, data=kept)
