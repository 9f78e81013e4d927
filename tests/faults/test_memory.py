"""Batches that do not fit into the memory: halved, told, and with the results of a larger machine.

Each work runs in a process of its own, whose memory is bounded once the model is there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rali.teacher.models import NANO

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux bounds a process's memory so"
)
BOUNDED = """
import re, resource, sys, warnings
from pathlib import Path
import numpy as np
import torch
from torch import nn
from rali.distill.batches import PictureBatches
from rali.pictures.preprocess import Preprocess

torch.set_num_threads(1)
paths = sorted(path for path in Path(sys.argv[1]).glob("*.jpg") if path.name != "007.jpg")[:32]
pictures = PictureBatches(
    paths, Preprocess(size=64, mean=(0.5,) * 3, std=(0.25,) * 3, resize_mode="squash"), keep=True
)

def tower():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(64, 8),
    )

def bounded(work, mebibytes):
    wanted = work()  # and its threads and libraries are there
    status = open("/proc/self/status").read()
    used = int(re.search(r"VmSize:[ \\t]+([0-9]+)", status)[1]) << 10
    resource.setrlimit(resource.RLIMIT_AS, (used + (mebibytes << 20), -1))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = work()
    told = [str(one.message) for one in told if "not enough memory" in str(one.message)]
    assert told and "from here on it is" in told[0], told
    return wanted, found
"""
EMBEDDING = """
from rali.distill.batches import embed
wanted, found = bounded(lambda: embed(tower(), pictures, batch_size=32), 24)
np.testing.assert_allclose(found, wanted, atol=1e-6)
"""
ALIGNMENT = """
from rali.distill.align import AlignConfig, align
draw = torch.Generator().manual_seed(1)
texts = [torch.randn(2, 8, generator=draw) for _ in paths]
config = AlignConfig(epochs=2, batch_size=32, micro_batch=32, lr=1e-2, workers=0)
wanted, found = bounded(lambda: align(tower(), pictures, texts, config, seed=3).state_dict(), 80)
for name, value in wanted.items():
    torch.testing.assert_close(found[name], value, atol=1e-4, rtol=0)
"""
GENERATION = """
from rali.teacher.engines import load_engine
from rali.teacher.questions import find_prompt
from rali.teacher.requests import Request, Sampling
engine = load_engine("transformers", "nano", batch_size=128)
prompt = find_prompt("ract/description")
requests = [Request((path,), prompt, seed=seed) for path in paths for seed in range(4)]
wanted, found = bounded(lambda: engine.generate(requests, Sampling(max_new_tokens=8)), 16)
assert found == wanted
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EMBEDDING", "ALIGNMENT", "GENERATION"])
def test_a_batch_that_does_not_fit_is_halved(name, photos, tmp_path):
    if name == "GENERATION" and not (NANO / "model.safetensors").is_file():
        pytest.skip("this copy has no nano teacher")
    (tmp_path / "bounded.py").write_text(BOUNDED + globals()[name])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    environment["MALLOC_MMAP_THRESHOLD_"] = "65536"  # or freed memory would be kept
    command = [sys.executable, Path(tmp_path / "bounded.py"), photos]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
