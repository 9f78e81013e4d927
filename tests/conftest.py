"""Shared fixtures: real photographs, and the data set folder where there is one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from small import SmallRun


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with biq2021/, pristine/ and score_files/; tests that need it are skipped."""
    folder = os.environ.get("RALI_DATA")
    if folder and (Path(folder) / "score_files").is_dir():
        return Path(folder).resolve()
    pytest.skip("no data here: set RALI_DATA to the folder with biq2021/ and score_files/")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser for all tests of a process: Playwright cannot be started twice in one."""
    from rali.errors import InputError
    from rali.export.measure.browser import find_browser

    try:
        path = find_browser()
    except InputError as error:
        pytest.skip(str(error))
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def photographs() -> dict[str, np.ndarray]:
    """Real photographs, uint8 [H, W, 3], none of them square, shrunk to be quick."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    china, flower = load_sample_images().images
    full = {
        "coffee": data.coffee(),
        "chelsea": data.chelsea(),
        "rocket": data.rocket(),
        "china": china,
        "flower": flower,
    }
    return {
        name: np.asarray(Image.fromarray(rgb).resize((rgb.shape[1] // 2, rgb.shape[0] // 2)))
        for name, rgb in full.items()
    }


@pytest.fixture(scope="session")
def photograph_files(photographs, tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photographs")
    paths = []
    for name, rgb in photographs.items():
        paths.append(folder / f"{name}.png")
        Image.fromarray(rgb).save(paths[-1])
    return paths


@pytest.fixture(scope="session")
def small_run(photograph_files, tmp_path_factory) -> SmallRun:
    """The one distillation that tests share: 18 degraded pictures of three contents to train on."""
    from rali.data.degraded import degrade_folder
    from rali.data.reference_rationales import build_reference_triplets
    from rali.data.triplets import read_triplets
    from rali.distill.align import AlignConfig
    from rali.distill.bases import BasesConfig
    from rali.distill.fit import FitConfig
    from rali.distill.pipeline import DistillConfig, distill
    from small import SmallRun, small_encoder

    folder = tmp_path_factory.mktemp("degraded")
    rows = degrade_folder(
        photograph_files, folder, distortions=("blur", "noise"), severities=(1, 3, 5), size=96
    )
    contents = sorted({row.content for row in rows})
    splits = dict(zip(contents, ["train", "train", "train", "val", "test"], strict=True))
    rows = [dataclasses.replace(row, split=splits[row.content]) for row in rows]
    build_reference_triplets(rows, folder / "triplets", count=3, workers=1)
    triplets = read_triplets(folder / "triplets")
    config = DistillConfig(
        encoder="nano",
        align=AlignConfig(epochs=3, batch_size=12, micro_batch=12, lr=1e-3),
        bases=BasesConfig(count=20),
        fit=FitConfig(steps=50),
    )
    run = tmp_path_factory.mktemp("run")
    student = distill(config, rows, triplets, run, encoder=small_encoder())
    assert student is not None
    return SmallRun(config, rows, triplets, run, student)


@pytest.fixture
def saved_every_step(monkeypatch) -> None:
    """Checkpoints are due once a minute: let each step take one."""
    monkeypatch.setattr("rali.distill.optim.SAVE_EVERY", 0)
