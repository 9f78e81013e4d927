"""`pyiqa.create_metric("rali")` in the real pyiqa."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from rali.errors import InputError

pyiqa = pytest.importorskip("pyiqa")


@pytest.fixture(scope="module")
def metric():
    import rali.pyiqa  # noqa: F401 (it registers rali)

    return pyiqa.create_metric("rali", device="cpu")


def test_pyiqa_knows_rali_and_what_its_scores_mean(metric):
    assert "rali" in pyiqa.list_models(metric_mode="NR")
    assert (metric.lower_better, metric.metric_mode, metric.score_range) == (False, "NR", "1, 5")


def test_tensors_and_files_get_ralis_scores(metric, files, expected):
    assert float(metric(files[0])) == pytest.approx(expected[0], abs=1e-3)
    picture = torch.from_numpy(np.array(Image.open(files[0])).transpose(2, 0, 1)[None] / 255)
    both = metric(torch.cat([picture, picture]).float())
    assert both.tolist() == pytest.approx([expected[0]] * 2, abs=1e-3)


def test_a_model_of_ones_own_goes_through_create_metric(metric):
    with pytest.raises(InputError, match="no-such-folder"):
        pyiqa.create_metric("rali", model="./no-such-folder")


def test_as_a_loss_it_says_what_has_gradients(metric):
    loss = pyiqa.create_metric("rali", as_loss=True, device="cpu")
    with pytest.raises(InputError, match="RaliReward"):
        loss(torch.rand(1, 3, 64, 64, requires_grad=True))


def test_without_pyiqa_it_says_what_to_type():
    code = "import sys; sys.modules['pyiqa'] = None; import rali.pyiqa"
    failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install pyiqa" in failed.stderr.splitlines()[-1]
