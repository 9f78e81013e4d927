"""Fixtures of the teacher's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scripted import manifest

from rali.data.manifest import Row


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Three small pictures with scores."""
    found = []
    for index in range(3):
        path = tmp_path / f"{index}.png"
        Image.fromarray(np.full((9, 9, 3), 60 * index, np.uint8)).save(path)
        found.append(Row(path, score=2.0 + index))
    return found


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    """Manifests of two data sets, with 12 and 5 pictures."""
    return [manifest(tmp_path, "one", 12), manifest(tmp_path, "two", 5)]


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the Hub's cache, which cannot be reached."""
    from rali.teacher import learned

    cache = tmp_path / "hub"
    cache.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    learned._of_hub.cache_clear()
    return cache
