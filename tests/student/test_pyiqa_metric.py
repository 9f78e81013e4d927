"""A student called as pyiqa's metrics are."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from rali import Scorer
from rali.errors import InputError
from rali.student.pyiqa_metric import Metric


def test_files_tensors_and_pictures_get_the_scores_of_the_command(photographs, photograph_files):
    metric, scorer = Metric(), Scorer()
    wanted = scorer(photograph_files[0])
    assert metric(str(photograph_files[0])).tolist() == pytest.approx([wanted], abs=1e-3)
    with Image.open(photograph_files[0]) as picture:
        assert metric(picture).tolist() == pytest.approx([wanted], abs=1e-3)
    array = next(iter(photographs.values()))
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)[None] / 255
    both = metric(torch.cat([tensor, tensor.flip(3)]))
    assert both.shape == (2,)
    assert float(both[0]) == pytest.approx(scorer(array), abs=1e-3)


def test_values_a_rounding_error_outside_are_clipped(photographs):
    metric = Metric()
    array = next(iter(photographs.values())).copy()
    array[:2, :2] = [[[0, 0, 0], [255, 255, 255]]] * 2
    tensor = torch.from_numpy(array).permute(2, 0, 1)[None] / 255
    wanted = metric(tensor)
    for off in (tensor + 1e-6, tensor - 1e-6, tensor.double() + 1e-9, tensor.half() * 1.001):
        assert off.min() < 0 or off.max() > 1
        assert metric(off).tolist() == pytest.approx(wanted.tolist(), abs=0.02)
    above = torch.nextafter(torch.ones(1, dtype=torch.bfloat16), torch.full((1,), 2).bfloat16())
    white = metric(torch.ones(1, 3, 64, 64))
    assert metric(above.expand(1, 3, 64, 64)).tolist() == white.tolist()


def test_attributes_are_pyiqas():
    metric = Metric()
    assert (metric.lower_better, metric.metric_mode, metric.score_range) == (False, "NR", "1, 5")
    assert isinstance(metric, torch.nn.Module)
    assert metric.metric_name == "rali-builtin"


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (torch.zeros(2, 1, 8, 8), r"\(2, 1, 8, 8\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "uint8"),
        (torch.full((1, 3, 8, 8), 200.0), "got 200 to 200"),
        (torch.full((1, 3, 8, 8), float("nan")), "got nan"),
        (torch.full((1, 3, 8, 8), 1.01), "got 1.01"),
        (torch.full((1, 3, 8, 8), -0.01), "got -0.01"),
        (torch.zeros(1, 3, 0, 8), r"\(1, 3, 0, 8\)"),
    ],
)
def test_other_tensors_are_refused(tensor, expected):
    with pytest.raises(InputError, match=expected):
        Metric()(tensor)
