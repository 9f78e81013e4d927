"""Rewards for the trainers of image generators: `RaliReward`, and an adapter for each call."""

from rali.errors import require

require("torch", "distill")

from .reward import RaliReward  # noqa: E402

__all__ = ["RaliReward"]
