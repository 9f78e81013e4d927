"""A student with the interface of pyiqa's metrics, to take the place of one in other code.

In: RGB tensors [n, 3, h, w] from 0 to 1, a file or a PIL picture.
Out: scores [n]; higher is better.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rali.errors import InputError
from rali.pictures.to_rgb import HALF_LEVEL

from .student import Student


class Metric(nn.Module):
    """A rali student that is called like the objects of `pyiqa.create_metric`.

        metric = Metric("builtin")
        metric("photo.jpg")              # tensor([3.87])
        metric(torch.rand(4, 3, 256, 256))
        metric.lower_better              # False

    Scores are those of `rali score`: a tensor is rounded to 8 bits as a file would be, so there are
    no gradients.

    Args:
        model: "builtin", a model folder or a Hub id.
        device: where the model runs; None means the CPU.
    """

    metric_mode = "NR"
    lower_better = False

    def __init__(self, model: str | Path = "builtin", *, device: Any = None) -> None:
        super().__init__()
        self.student = Student.from_pretrained(model).to(device or "cpu")
        self.metric_name = f"rali-{Path(model).name}"
        low, high = self.student.config.score_range
        self.score_range = f"{low:g}, {high:g}"

    def forward(self, target: Any, ref: Any = None, **_: Any) -> Tensor:
        """Scores [n]; `ref` is ignored, as by every metric without a reference.

        Raises:
            InputError: the tensor has another shape, or values outside 0–1 by more than rounding
                explains: half a level of 255, or its type's own precision.
            PictureError: the file cannot be read.
        """
        pictures = _pictures(target) if isinstance(target, Tensor) else [target]
        scores = self.student.score(pictures)
        return torch.from_numpy(scores).float().to(self.student.mean.device)


def _pictures(target: Tensor) -> list[Any]:
    """A batch of floats as a list of uint8 pictures [h, w, 3]."""
    if target.ndim == 3:
        target = target[None]
    if target.ndim != 4 or target.shape[1] != 3 or not target.is_floating_point():
        raise InputError(
            f"A metric takes float RGB tensors [n, 3, h, w]; got {tuple(target.shape)}, "
            f"{target.dtype}."
        )
    if not target.numel():
        raise InputError(f"A metric takes pictures with pixels; got {tuple(target.shape)}.")
    slack = max(HALF_LEVEL, torch.finfo(target.dtype).eps)
    target = target.detach().float()
    low, high = target.aminmax()
    if not (low >= -slack and high <= 1 + slack):
        raise InputError(
            f"A metric takes values from 0 to 1; got {float(low):g} to {float(high):g}."
        )
    rounded = (target.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return list(rounded)
