"""Training pictures as batches: mirrored one by one, and kept instead of read again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from rali.distill.batches import PictureBatches
from rali.errors import InputError
from rali.pictures.preprocess import Preprocess

PREPROCESS = Preprocess(size=16, mean=(0, 0, 0), std=(1, 1, 1), resize_mode="squash")


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    draw = np.random.default_rng(0)
    files = [tmp_path / f"{name}.png" for name in "abc"]
    for file in files:
        Image.fromarray(draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file)
    return files


def test_flip_mirrors_only_the_pictures_it_names(paths: list[Path]) -> None:
    pictures = PictureBatches(paths, PREPROCESS)
    plain = pictures.pixels([0, 1, 2])
    some = pictures.pixels([0, 1, 2], flip=np.array([False, True, False]))
    torch.testing.assert_close(some, torch.stack([plain[0], plain[1].flip(2), plain[2]]))
    torch.testing.assert_close(pictures.pixels([2], flip=True)[0], plain[2].flip(2))


def test_kept_pictures_are_not_read_again(paths: list[Path]) -> None:
    pictures = PictureBatches(paths, PREPROCESS, keep=True)
    first = pictures.pixels([0, 2], flip=True)
    for path in paths:
        path.unlink()
    torch.testing.assert_close(pictures.pixels([0, 2], flip=True), first)
    torch.testing.assert_close(pictures.pixels([0, 2]), first.flip(3))
    with pytest.raises(InputError, match=r"b\.png"):
        pictures.pixels([1])


def test_a_part_shares_what_was_read(paths: list[Path]) -> None:
    pictures = PictureBatches(paths, PREPROCESS, keep=True)
    part = pictures.take([2, 0])
    first = part.pixels([0, 1])
    for path in paths:
        path.unlink()
    torch.testing.assert_close(pictures.pixels([2, 0]), first)
    assert len(part) == 2 and part.name(0) == str(paths[2])


def test_a_full_disk_is_a_sentence(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "rali.distill.batches.shutil.disk_usage", lambda _: SimpleNamespace(free=1000)
    )
    with pytest.raises(InputError, match=r"takes 0\.0 GB.*keep_pixels=false"):
        PictureBatches(paths, PREPROCESS, keep=True)
    PictureBatches(paths, PREPROCESS)
