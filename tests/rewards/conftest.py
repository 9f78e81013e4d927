"""The pictures and the model that the tests of rewards share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

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


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """The address of a real `rali serve builtin`."""
    command = [sys.executable, "-m", "rali", "serve", "builtin", "--port", "0", "--threads", "1"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        yield server.stderr.readline().split()[-1].removesuffix("/score")
    finally:
        server.kill()
        server.wait()
