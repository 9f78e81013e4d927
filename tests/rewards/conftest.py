"""The pictures and the model that the tests of rewards share."""

from __future__ import annotations

import numpy as np
import pytest

from rali import Scorer
from rali.rewards import RaliReward
from small import photograph


@pytest.fixture(scope="session")
def reward() -> RaliReward:
    """The built-in model's, without guards; it has no state that a test could leave."""
    return RaliReward()


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    """uint8 [4, H, W, 3]."""
    return np.stack([np.roll(photograph(120, 160), 11 * n, 1) for n in range(4)])


@pytest.fixture(scope="session")
def expected(pictures) -> np.ndarray:
    """The scores of `pictures` by their ONNX file."""
    return Scorer()(list(pictures))
