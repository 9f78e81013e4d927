"""Pictures read ahead by processes: the same pixels, errors as sentences, no process left."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rali.distill.align import AlignConfig, align
from rali.distill.batches import PictureBatches
from rali.distill.stream import View, draw_view, stream
from rali.errors import InputError
from small import SMALL, small_encoder


@pytest.fixture
def pictures(photograph_files: list[Path]) -> PictureBatches:
    return PictureBatches(photograph_files, SMALL.preprocess)


def views(steps: int = 4) -> list[View]:
    draws = [np.random.default_rng(step) for step in range(steps)]
    return [draw_view(draw.permutation(5)[:3], True, 0.6, 64, draw) for draw in draws]


def test_processes_read_the_same_pixels_in_the_same_order(pictures):
    torch.manual_seed(5)
    before, found = torch.get_rng_state(), []
    for workers in (0, 1, 2):
        with stream(pictures, views(), workers) as batches:
            found.append(list(batches))
    assert found[0][0].shape == (3, 3, 32, 32) and len(found[0]) == 4
    assert all(
        torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True)
    )
    assert torch.equal(torch.get_rng_state(), before), "the training draws as without them"
    assert multiprocessing.active_children() == []


def test_the_alignment_does_not_depend_on_them(pictures):
    texts = [torch.randn(2, 24, generator=torch.Generator().manual_seed(i)) for i in range(5)]
    config = AlignConfig(epochs=4, batch_size=4, lr=1e-2, crop=0.6)
    states = [
        align(small_encoder().image, pictures, texts, dataclasses.replace(config, workers=n))
        for n in (0, 2)
    ]
    for name, value in states[0].state_dict().items():
        assert torch.equal(value, states[1].state_dict()[name]), name


def test_a_picture_that_cannot_be_read_is_named_as_without_them(photograph_files, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    pictures = PictureBatches([*photograph_files, tmp_path / "text.png"], SMALL.preprocess)
    told = []
    for workers in (0, 1):
        with (
            pytest.raises(InputError) as refused,
            stream(pictures, [View(np.array([0, 5]), np.zeros(2, bool))], workers) as batches,
        ):
            next(batches)
        told.append(str(refused.value))
    assert told[0] == told[1] and "text.png cannot be read" in told[0]


def test_a_killed_process_is_a_sentence_and_none_is_left(pictures):
    with (
        pytest.raises(InputError, match=r"was killed.*align\.workers"),
        stream(pictures, views(400), 2) as batches,
    ):
        for _ in batches:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    for process in multiprocessing.active_children():
        process.join(10)
    assert multiprocessing.active_children() == []


def test_kept_pixels_are_read_here(photograph_files):
    kept = PictureBatches(photograph_files, SMALL.preprocess, keep=True)
    with stream(kept, views(), 2) as batches:
        next(batches)
        assert multiprocessing.active_children() == []


KILLED = """
import os, signal, sys
import numpy as np
from pathlib import Path
from rali.distill.batches import PictureBatches
from rali.distill.stream import View, stream
from small import SMALL
pictures = PictureBatches([Path(sys.argv[1])] * 64, SMALL.preprocess)  # more than a pipe holds
views = [View(np.arange(64), np.zeros(64, bool))] * 20
with stream(pictures, views, 2) as batches:
    next(batches)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_end_with_a_training_that_is_killed(photograph_files):
    # They hold its standard output, which therefore ends with the last of them.
    command = [sys.executable, "-c", KILLED, str(photograph_files[0])]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, timeout=120)
    assert done.returncode == -signal.SIGKILL
