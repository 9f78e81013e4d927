"""The interface of the image-reward package, to take its model's place.

from rali.rewards import image_reward as RM      # was: import ImageReward as RM
model = RM.load("builtin")                       # was: RM.load("ImageReward-v1.0")
rank, rewards = model.inference_rank(prompt, ["a.png", "b.png"])
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..preprocess import Preprocess
from .judge import judge, shared_reward
from .reward import RaliReward

CLIP = Preprocess()


class QualityReward:
    """A `RaliReward` that is asked as ImageReward's models are; prompts are ignored."""

    def __init__(self, reward: RaliReward) -> None:
        self.reward = reward

    def score(self, prompt: str, image: Any) -> Any:
        """A float of a path or PIL picture; of a list of them, a list of floats."""
        if isinstance(image, list):
            return self.inference_rank(prompt, image)[1]
        return judge(self.reward, [image]).item()

    def inference_rank(self, prompt: str, generations_list: list[Any]) -> Any:
        """(ranks, rewards) of paths or PIL pictures: rank 1 is the best.

        Two lists; of a single picture two numbers, as ImageReward gives them.
        """
        rewards = judge(self.reward, generations_list)
        ranks = rewards.argsort(descending=True, stable=True).argsort() + 1
        return ranks.squeeze().tolist(), rewards.squeeze().tolist()

    def score_gard(self, prompt_ids: Any, prompt_attention_mask: Any, image: Tensor) -> Tensor:
        """Rewards [n, 1] with gradients, as ReFL asks for them.

        Args:
            image: [n, 3, 224, 224], shrunk and normalised as CLIP's, which is undone. So little of
                a picture hides its fine detail; `rali.rewards.backprop` sees it at full size.
        """
        mean, std = (image.new_tensor(values).view(3, 1, 1) for values in (CLIP.mean, CLIP.std))
        return self.reward(image * std + mean)[:, None]


def load(name: str = "builtin", device: Any = None, **options: Any) -> QualityReward:
    """A model by name, folder or hub id.

    Args:
        options: as `RaliReward` takes them, except `input_range`.
    """
    return QualityReward(shared_reward(name, device, **options))
