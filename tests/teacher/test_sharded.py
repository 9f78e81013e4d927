"""The recipes `fsdp2` and `zero3` on two CPU processes: weights in shards, saved, and resumed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from scripted import manifest

from rali.data.manifest import read_manifest
from rali.data.reference_rationales import build_reference_triplets
from rali.recipes import recipes
from rali.teacher.models import NANO

# accelerate shards weights over GPUs alone: here it takes two CPU processes for such.
LAUNCHED = """
from accelerate.state import DistributedType, PartialState
start = PartialState.__init__
def started(self, *given, **named):
    start(self, *given, **named)
    if self.distributed_type is DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_GPU
PartialState.__init__ = started
from rali.cli import main
main()
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (NANO / "model.safetensors").is_file(), reason="this copy has no nano teacher"
    ),
]


@pytest.mark.parametrize("name", ["fsdp2", "zero3"])
def test_shards_are_saved_and_resumed_to_the_same_weights(name, tmp_path):
    if name == "zero3":
        pytest.importorskip("deepspeed", reason="pip install 'rali[deepspeed]'")
    rows = read_manifest(Path(manifest(tmp_path, "one", 8)))
    build_reference_triplets(rows, tmp_path / "triplets", count=1, workers=1)
    settings = {
        "model": "nano", "batch_size": 2, "micro_batch": 2, "dtype": "float32", "save_every": 1,
        "gradient_checkpointing": False, "trl": {"max_steps": 2},
        "sources": [{"triplets": "triplets", "prompt": "ract/description"}],
    }  # fmt: skip
    recipe = yaml.safe_load(recipes()[name].read_text("utf-8"))
    here = recipe | {"num_processes": 2, "mixed_precision": "no"}
    for file, values in (("sft", settings), (name, here)):
        (tmp_path / f"{file}.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "launched.py").write_text(LAUNCHED)
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--config_file", f"{name}.yaml"),
        *("launched.py", "teach", "sft", "--config", "sft.yaml", "--data", ".", "-o", "run"),
    ]

    def run() -> bytes:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        environment |= {"DS_ACCELERATOR": "cpu"} if name == "zero3" else {}
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=600, env=environment
        )
        assert done.returncode == 0, done.stderr
        return (tmp_path / "run" / "model" / "model.safetensors").read_bytes()

    whole = run()
    checkpoints = tmp_path / "run" / "checkpoints"
    sharded = {"fsdp2": "pytorch_model_fsdp.bin", "zero3": "global_step1"}
    assert (checkpoints / "checkpoint-1" / sharded[name]).exists()
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.rmtree(checkpoints / "checkpoint-2")
    assert run() == whole
