"""The stage in the real NeMo Curator: its pipeline on Ray Data runs it in a worker."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from .conftest import INTEGRATIONS

pytest.importorskip("nemo_curator")

from nemo_curator.backends.ray_data import RayDataExecutor
from nemo_curator.pipeline import Pipeline
from nemo_curator.stages.base import get_stage_class
from nemo_curator.tasks import ImageBatch, ImageObject


def batch(files, **options) -> ImageBatch:
    pictures = [ImageObject(image_path=path, image_id=path, **options) for path in files]
    return ImageBatch(dataset_name="photographs", data=pictures)


def test_a_pipeline_keeps_the_good_pictures(integration, files, expected, middle, monkeypatch):
    module = integration("nemo_curator_stage")
    monkeypatch.setenv("PYTHONPATH", str(INTEGRATIONS))  # Ray's workers import the stage
    pipeline = Pipeline("quality", stages=[module.RaliFilterStage(at_least=middle)])
    kept = pipeline.run(RayDataExecutor(), initial_tasks=[batch(files[:4]), batch(files[4:])])
    scores = {p.image_path: p.metadata["rali_score"] for task in kept for p in task.data}
    wanted = {f: s for f, s in zip(files, expected, strict=True) if s is not None and s >= middle}
    assert scores == pytest.approx(wanted, abs=1e-4)


def test_pixels_count_before_paths_and_a_broken_picture_can_stay(integration, files, expected):
    integration("nemo_curator_stage")
    stage = get_stage_class("RaliFilterStage")(at_least=None)
    stage.setup()
    task = batch(files[-1:] * 2)
    task.data[0] = replace(task.data[0], image_data=np.array(Image.open(files[0])))
    scores = [picture.metadata["rali_score"] for picture in stage.process(task).data]
    assert scores == [pytest.approx(expected[0], abs=1e-4), None]
