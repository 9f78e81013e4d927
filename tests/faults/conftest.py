"""Pieces of photographs, and scores for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rali.data.manifest import Row, write_manifest
from rali.pictures.samples import sample_photographs

COUNT = 40  # pictures


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """Pieces of real photographs, one of them damaged."""
    folder = tmp_path_factory.mktemp("photos")
    draw, sources = np.random.default_rng(0), sample_photographs()
    for number in range(COUNT):
        rgb = sources[number % len(sources)]
        top, left = (int(draw.integers(0, edge - 160)) for edge in rgb.shape[:2])
        piece = Image.fromarray(rgb[top : top + 160, left : left + 160])
        piece.save(folder / f"{number:03d}.jpg", quality=int(draw.integers(20, 96)))
    whole = (folder / "007.jpg").read_bytes()
    (folder / "007.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(scope="session")
def manifest(photos) -> Path:
    """Scores for the whole ones; a split of 30 to calibrate on."""
    draw = np.random.default_rng(1)
    rows = [
        Row(path, float(draw.uniform(1, 5)), split="val" if number < 31 else "test")
        for number, path in enumerate(sorted(photos.glob("*.jpg")))
        if path.name != "007.jpg"
    ]
    write_manifest(rows, photos / "labels.csv")
    return photos / "labels.csv"
