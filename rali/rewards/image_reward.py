"""The interface of the image-reward package, so that rali can replace its model.

from rali.rewards import image_reward as RM      # was: import ImageReward as RM
model = RM.load("builtin")                       # was: RM.load("ImageReward-v1.0")
rank, rewards = model.inference_rank(prompt, ["a.png", "b.png"])
"""

from __future__ import annotations

from typing import Any

from .no_grad import rewards_of, shared_reward
from .reward import RaliReward


class QualityReward:
    """A `RaliReward` with the methods of ImageReward's models; prompts are ignored."""

    def __init__(self, reward: RaliReward) -> None:
        self.reward = reward

    def score(self, prompt: str, image: Any) -> Any:
        """A float for a path or PIL picture; for a list of them, a list of floats."""
        if isinstance(image, list):
            return self.inference_rank(prompt, image)[1]
        return rewards_of(self.reward, [image]).item()

    def inference_rank(self, prompt: str, generations_list: list[Any]) -> Any:
        """(ranks, rewards) of paths or PIL pictures: rank 1 is the best.

        Two lists, or for a single picture two numbers, as ImageReward returns them.
        """
        rewards = rewards_of(self.reward, generations_list)
        ranks = rewards.argsort(descending=True, stable=True).argsort() + 1
        return ranks.squeeze().tolist(), rewards.squeeze().tolist()


def load(
    name: str = "builtin",
    device: Any = None,
    download_root: str | None = None,
    med_config: str | None = None,
    **options: Any,
) -> QualityReward:
    """A model by name, folder or Hub id.

    Args:
        download_root, med_config: arguments of ImageReward's `load`; ignored.
        options: as `RaliReward` takes them.
    """
    return QualityReward(shared_reward(name, device, **options))
