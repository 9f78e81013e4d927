"""A pointwise reward model for Flow-Factory. In its config:

rewards:
  - name: quality
    reward_model: rali.rewards.flow_factory.QualityRewardModel
    batch_size: 16
    model: builtin     # from here on options of `RaliReward`
    caution: 1.0
    cutoff: familiar
"""

from __future__ import annotations

from typing import Any

import torch
from flow_factory.rewards import PointwiseRewardModel, RewardModelOutput

from .no_grad import rewards_of
from .reward import RaliReward


class QualityRewardModel(PointwiseRewardModel):
    """Quality scores, 1–5; prompts are ignored.

    Flow-Factory puts arguments that it does not know into `extra_kwargs`.
    """

    required_fields = ("image",)
    use_tensor_inputs = True

    def __init__(self, config: Any, accelerator: Any) -> None:
        super().__init__(config, accelerator)
        options = {"device": self.device, "dtype": self.dtype, **(config.extra_kwargs or {})}
        self.model = RaliReward(**options)

    @torch.no_grad()
    def __call__(self, image: list[torch.Tensor] | None = None, **_: Any) -> RewardModelOutput:
        """`image`: [3, H, W] each, 0–1 → rewards [n]."""
        return RewardModelOutput(
            rewards=rewards_of(self.model, [] if image is None else image).to(self.device)
        )
