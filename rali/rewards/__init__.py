"""Rewards for trainers of image generators: `RaliReward`, and one adapter for each trainer."""

from rali.errors import require

require("torch", "distill")

from .reward import RaliReward  # noqa: E402

__all__ = ["RaliReward"]
