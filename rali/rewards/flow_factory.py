"""A pointwise reward model for Flow-Factory. In its config:

rewards:
  - name: quality
    reward_model: rali.rewards.flow_factory.QualityRewardModel
    batch_size: 16
"""

from __future__ import annotations

from typing import Any

import torch
from flow_factory.rewards import PointwiseRewardModel, RewardModelOutput

from .judge import judge, shared_reward


class QualityRewardModel(PointwiseRewardModel):
    """Scores of quality, 1–5; prompts are ignored.

    Of the reward's arguments `model` names another student ("builtin" is the default) and `dtype`
    is that of the encoder.
    """

    required_fields = ("image",)
    use_tensor_inputs = True

    def __init__(self, config: Any, accelerator: Any) -> None:
        super().__init__(config, accelerator)
        name = getattr(config, "model", None) or "builtin"
        self.model = shared_reward(name, self.device, dtype=self.dtype)

    @torch.no_grad()
    def __call__(self, image: list[torch.Tensor] | None = None, **_: Any) -> RewardModelOutput:
        """`image`: [3, H, W] each, 0–1 → rewards [n]."""
        return RewardModelOutput(rewards=judge(self.model, image or []).to(self.device))
