"""Near-identical pictures across splits: found when resized, encoded or mirrored, and only then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner

from rali.cli.data import app
from rali.data.manifest import Row, write_manifest
from rali.data.twins import find_twins
from rali.pictures.samples import sample_photographs


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Two photographs in train; in test a copy of each, another photograph and a flat picture."""
    first, second, third = (Image.fromarray(np.asarray(p)) for p in sample_photographs()[:3])
    small = first.resize((first.width // 2, first.height // 2))
    pictures = {
        "first.png": (first, "train"),
        "second.png": (second, "train"),
        "flat.png": (Image.new("RGB", (50, 40), "grey"), "train"),
        "small.jpg": (small, "test"),
        "mirrored.png": (ImageOps.mirror(second), "test"),
        "third.png": (third, "test"),
        "also flat.png": (Image.new("RGB", (50, 40), "grey"), "test"),
    }
    for name, (picture, _) in pictures.items():
        picture.save(tmp_path / name)
    return [Row(tmp_path / name, score=3.0, split=split) for name, (_, split) in pictures.items()]


def test_copies_are_found_and_other_pictures_are_not(rows: list[Row]) -> None:
    found = {twin.held_out.image.name: twin.seen.image.name for twin in find_twins(rows)}
    assert found == {"small.jpg": "first.png", "mirrored.png": "second.png"}


def test_the_command_names_pairs_over_several_manifests(rows: list[Row], tmp_path: Path) -> None:
    files = []
    for split in ("train", "test"):
        files.append(str(tmp_path / f"{split}.csv"))
        write_manifest([row for row in rows if row.split == split], files[-1])
    said = CliRunner().invoke(app, ["check", *files])
    assert said.exit_code == 1
    assert "small.jpg (test) is near-identical to" in said.stdout and "2 held-out" in said.stderr
    assert CliRunner().invoke(app, ["check", *files, "--no-twins"]).exit_code == 0
    assert CliRunner().invoke(app, ["check", files[1]]).exit_code == 0


@pytest.mark.parametrize("what", ["picture", "content"])
def test_the_command_names_what_is_in_two_splits(what, rows: list[Row], tmp_path: Path) -> None:
    train, test = rows[0], rows[5]  # two photographs that are not alike
    if what == "picture":
        test = replace(train, split="test")
    else:
        train, test = replace(train, content="scene"), replace(test, content="scene")
    files = [str(tmp_path / "train.csv"), str(tmp_path / "test.csv")]
    for row, file in zip((train, test), files, strict=True):
        write_manifest([row], file)
    said = CliRunner().invoke(app, ["check", *files])
    assert said.exit_code == 1
    assert "1 of 2 pictures are in an earlier split too" in said.stderr
    assert test.image.name in said.stderr
