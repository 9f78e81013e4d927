"""Rewards for trainers of image generators: `RaliReward`, `mix`, an adapter for each trainer."""

from rali.errors import require

require("torch", "distill")

from .reward import RaliReward  # noqa: E402
from .weighted import Mix, mix  # noqa: E402

__all__ = ["Mix", "RaliReward", "mix"]
