"""`rali distill --dry-run`: every setting, what would be done, and what is refused beforehand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rali.cli import app
from rali.data.manifest import write_manifest
from rali.distill.plan import plan
from rali.errors import InputError


def test_the_command_lists_settings_and_plan_and_writes_nothing(small_run, tmp_path):
    manifest = tmp_path / "manifest.csv"
    write_manifest(small_run.rows, manifest)
    arguments = ["distill", str(manifest), "-o", str(tmp_path / "run"), "--dry-run"]
    arguments += ["--encoder", "nano", "--set", "align.epochs=5", "--count", "4"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "align.epochs=5.0  (default 10.0)\n    Passes over the pictures." in done.output
    assert "Pictures: 21 to train on, 21 of them with a score; 7 of split val" in done.output
    assert "Encoder: nano, weights " in done.output
    assert "Rationales: 4 per picture are written by rule" in done.output
    assert "Steps: 5 to align, of 21 pictures" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.csv"]


def test_given_rationales_are_counted(small_run):
    text = plan(small_run.config, small_run.rows, small_run.triplets, 6)
    assert "Rationales: 63 of the pictures to train on." in text
    unaligned = dataclasses.replace(small_run.config.align, enabled=False)
    config = dataclasses.replace(small_run.config, align=unaligned)
    assert "none are needed" in plan(config, small_run.rows, [], 6)


def test_what_distilling_would_refuse_is_refused(small_run):
    rows, triplets = small_run.rows, small_run.triplets
    train = next(row for row in rows if row.split == "train")
    missing = dataclasses.replace(train, image=Path("gone.png"), content="")
    with pytest.raises(InputError, match=r"1 of 29 pictures are missing, the first is gone\.png"):
        plan(small_run.config, [*rows, missing], triplets, 6)
    with pytest.raises(InputError, match="have no rationale"):
        plan(small_run.config, rows, [t for t in triplets if t.image != train.image], 6)
    with pytest.raises(InputError, match="No encoder is called 'ViT-Q'"):
        plan(dataclasses.replace(small_run.config, encoder="ViT-Q"), rows, triplets, 6)
    with pytest.raises(InputError, match="No picture to train on"):
        plan(small_run.config, [row for row in rows if row.split != "train"], triplets, 6)
