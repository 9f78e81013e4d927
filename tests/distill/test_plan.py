"""`rali distill --dry-run`: every setting, what would be done, and what is refused beforehand."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from rali.cli import app
from rali.data.manifest import write_manifest
from rali.distill.align import AlignConfig
from rali.distill.memory import align_memory, memory_words
from rali.distill.plan import plan
from rali.errors import InputError
from rali.student.encoders import image_tower


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
    assert "Memory: about " in done.output
    assert "Steps: 5 to align, of 21 pictures" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.csv"]


@pytest.mark.slow
def test_the_memory_of_the_papers_encoder_fits_24_gib_by_default():
    """Bytes per picture are those that a real forward pass keeps; the default fits a 24 GB card."""
    words = memory_words("ViT-L-14-336-quickgelu", AlignConfig(), 64)
    needed, weights, without = map(float, re.findall(r"(\d+\.\d)", words))
    assert needed < 20 and 4 < weights < 6 and without > 50, words
    held = align_memory("ViT-B-32", AlignConfig(grad_checkpointing=False, micro_batch=2), 2)
    tower = image_tower({"name": "ViT-B-32"}).train()
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16):
        tower(torch.zeros(2, 3, 224, 224))
    real = sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 2**30
    assert held is not None and held.activations == pytest.approx(real, rel=0.02)
    assert memory_words("hf-hub:owner/model", AlignConfig(), 64) == ""


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
