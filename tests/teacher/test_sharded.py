"""The recipes `fsdp2` and `zero3` on two CPU processes: weights in shards, saved, and resumed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load, load_file
from scripted import manifest

from rali.data.manifest import read_manifest
from rali.data.reference_rationales import build_reference_triplets
from rali.recipes import recipes
from rali.runs.folder import RunFolder
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
SETTINGS = {
    "model": "nano", "micro_batch": 2, "dtype": "float32", "gradient_checkpointing": False,
    "save_every": 1, "trl": {"max_steps": 2},
}  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (NANO / "model.safetensors").is_file(), reason="this copy has no nano teacher"
    ),
]


def launch(verb: str, name: str, settings: dict[str, Any], folder: Path) -> Path:
    """Run `rali teach VERB` by the recipe's accelerate on two processes; the teacher's weights."""
    recipe = yaml.safe_load(recipes()[name].read_text("utf-8"))
    here = recipe | {"num_processes": 2, "mixed_precision": "no"}
    for file, values in ((verb, SETTINGS | settings), (name, here)):
        (folder / f"{file}.yaml").write_text(yaml.safe_dump(values))
    (folder / "launched.py").write_text(LAUNCHED)
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--config_file", f"{name}.yaml"),
        *("launched.py", "teach", verb, "--config", f"{verb}.yaml", "--data", ".", "-o", "run"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment |= {"DS_ACCELERATOR": "cpu"} if name == "zero3" else {}
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=600, env=environment
    )
    assert done.returncode == 0, done.stderr
    return folder / "run" / "model" / "model.safetensors"


def resumed(verb: str, name: str, settings: dict[str, Any], folder: Path) -> tuple[bytes, bytes]:
    """The weights after two steps, and after a second start from the first step's shards."""
    whole = launch(verb, name, settings, folder).read_bytes()
    checkpoints = folder / "run" / "checkpoints"
    sharded = {"fsdp2": "pytorch_model_fsdp.bin", "zero3": "global_step1"}
    assert (checkpoints / "checkpoint-1" / sharded[name]).exists()
    shutil.rmtree(folder / "run" / "model")
    shutil.rmtree(checkpoints / "checkpoint-2")
    return whole, launch(verb, name, settings, folder).read_bytes()


KINDS = ["fsdp2", pytest.param("zero3", marks=pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="make test-deepspeed"
))]  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_shards_are_saved_and_resumed_to_the_same_weights(name, tmp_path):
    rows = read_manifest(Path(manifest(tmp_path, "one", 8)))
    build_reference_triplets(rows, tmp_path / "triplets", count=1, workers=1)
    sources = [{"triplets": "triplets", "prompt": "ract/description"}]
    whole, again = resumed("sft", name, {"batch_size": 2, "sources": sources}, tmp_path)
    assert again == whole


@pytest.mark.parametrize("name", KINDS)
def test_shards_learn_by_rewards_and_resume_to_the_same_weights(name, tmp_path):
    manifest(tmp_path, "one", 8)
    (tmp_path / "mine.py").write_text(
        "def letters(completion, **_): return completion.text.count('e') / 10\n"
    )
    settings = {
        "prompts_per_step": 2, "num_generations": 2, "max_completion_length": 40, "lr": 1e-3,
        "tasks": [{"manifests": ["one.csv"], "rewards": [{"name": "mine:letters"}]}],
    }  # fmt: skip
    whole, again = resumed("train", name, settings, tmp_path)
    assert again == whole
    first, second = RunFolder(tmp_path / "run").metrics()
    assert first["kl"] == pytest.approx(0, abs=1e-6), "the reference is still the policy"
    assert second["kl"] > 1e-3 and first["reward_std"] > 0 and first["grad_norm"] > 0
    before, after = load_file(NANO / "model.safetensors"), load(whole)
    moved = [(after[name] - weights).abs().max() > 5e-4 for name, weights in before.items()]
    assert sum(moved) > len(moved) / 2
