"""rali in pyiqa: after `import rali.pyiqa`, `pyiqa.create_metric("rali")` gives rali's scores.

pyiqa is not part of rali, and from 0.1.16 on its licence is PolyForm Noncommercial: rali does not
install it. `rali.Metric` is called in the same way and needs no pyiqa.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rali.errors import InputError, MissingExtraError
from rali.student.pyiqa_metric import Metric

try:
    from pyiqa.default_model_configs import DEFAULT_CONFIGS
    from pyiqa.utils.registry import ARCH_REGISTRY
except ImportError as error:
    raise MissingExtraError(
        "`import rali.pyiqa` needs pyiqa, which rali does not install because of its licence; type "
        "`pip install pyiqa`, or use rali.Metric."
    ) from error

NAME = "rali"
SCORE_RANGE = "1, 5"


class RaliMetric(Metric):
    """The network that pyiqa calls: `create_metric("rali", model=…)` passes `model` on.

    Args:
        model: "builtin", a model folder or a Hub id, with scores from 1 to 5.
    """

    def __init__(self, model: str = "builtin") -> None:
        super().__init__(model)
        if self.score_range != SCORE_RANGE:  # pyiqa states one range for all models of a name
            raise InputError(
                f"{model} scores {self.score_range}, not {SCORE_RANGE}; use rali.Metric."
            )

    def forward(self, target: Any, ref: Any = None, **options: Any) -> Tensor:
        """Scores [n] of RGB tensors [n, 3, h, w] from 0 to 1.

        Raises:
            InputError: as by `rali.Metric`, or gradients are asked for.
        """
        if torch.is_grad_enabled() and isinstance(target, Tensor) and target.requires_grad:
            raise InputError(
                'create_metric("rali") rounds pictures to 8 bits and has no gradients; use '
                "rali.RaliReward as a loss."
            )
        return super().forward(target, ref, **options)


ARCH_REGISTRY.register(RaliMetric)
DEFAULT_CONFIGS[NAME] = {
    "metric_opts": {"type": RaliMetric.__name__},
    "metric_mode": Metric.metric_mode,
    "lower_better": Metric.lower_better,
    "score_range": SCORE_RANGE,
}
