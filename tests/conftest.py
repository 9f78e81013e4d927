"""Shared fixtures: real photographs, and the data set folder where there is one."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with biq2021/, pristine/ and score_files/; tests that need it are skipped."""
    folder = os.environ.get("RALI_DATA")
    if folder and (Path(folder) / "score_files").is_dir():
        return Path(folder).resolve()
    pytest.skip("no data here: set RALI_DATA to the folder with biq2021/ and score_files/")


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


@pytest.fixture
def saved_every_step(monkeypatch) -> None:
    """Checkpoints are due once a minute: let each step take one."""
    clock = itertools.count(0.0, 60.0)
    monkeypatch.setattr("rali.distill.optim.time", SimpleNamespace(monotonic=clock.__next__))
