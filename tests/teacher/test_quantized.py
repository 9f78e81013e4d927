"""Weights of 4 bits beside a learning adapter, and asked as they are."""

from __future__ import annotations

import pytest
import torch
from scripted import manifest

pytest.importorskip(
    "bitsandbytes", reason="bitsandbytes is not installed: pip install 'rali[4bit]'"
)

from rali.runs.config import from_dict
from rali.runs.folder import RunFolder
from rali.teacher.adapter import LoraConfig
from rali.teacher.engines import load_engine
from rali.teacher.grpo import GrpoConfig, train
from rali.teacher.models import load_teacher
from rali.teacher.questions import find_prompt
from rali.teacher.requests import Request, Sampling
from rali.teacher.sft import SftConfig, SftExample, train_sft

VQ = find_prompt("visualquality-r1/score")
pytestmark = pytest.mark.slow
SHARED = {
    "model": "nano", "quantization": "4bit", "lora": {"rank": 8}, "lr": 1e-3,
    "gradient_checkpointing": False, "log_every": 1,
}  # fmt: skip


def check_learnt(folder) -> None:
    """Its layers with an adapter have moved, and nothing else; none of it is in 4 bits."""
    before, after = (load_teacher(str(m), dtype="bfloat16")[0] for m in ("nano", folder))
    others = after.state_dict()
    moved = {n for n, w in before.state_dict().items() if not torch.equal(w, others[n])}
    assert moved and {n.split(".")[-2] for n in moved} <= set(LoraConfig().targets)
    rows = [row for row in RunFolder(folder.parent).metrics() if "grad_norm" in row]
    assert len(rows) == 2 and all(row["grad_norm"] > 0 for row in rows)


def test_weights_of_4_bits_are_fine_tuned(rows, tmp_path):
    learnt = [SftExample((r.image,), VQ, "<think>So.</think><answer>2.00</answer>") for r in rows]
    more = {"batch_size": 2, "micro_batch": 2, "warmup": 0, "trl": {"max_steps": 2}}
    config = from_dict(SftConfig, SHARED | more)
    check_learnt(train_sft(config, tmp_path / "run", learnt))


def test_weights_of_4_bits_are_reinforced(tmp_path, monkeypatch):
    """By a reward that every two texts differ in."""
    code = "def varied(completion): return sum(map(ord, completion.text)) % 97 / 97"
    (tmp_path / "varied_rewards.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    task = {
        "prompt": "direct/score", "manifests": [manifest(tmp_path, "one", 6)],
        "rewards": [{"name": "varied_rewards:varied"}],
    }  # fmt: skip
    more = {"prompts_per_step": 2, "num_generations": 3, "micro_batch": 6, "tasks": [task]}
    config = from_dict(
        GrpoConfig,
        SHARED | more | {"max_completion_length": 24, "trl": {"max_steps": 2}},
    )
    check_learnt(train(config, tmp_path / "run"))


def test_weights_of_4_bits_are_asked(rows):
    asked = [Request((row.image,), VQ) for row in rows]
    options = {"quantization": "4bit"}
    engine = load_engine("transformers", "nano", dtype="bfloat16", options=options)
    assert engine.mark.endswith(" bfloat16 4bit")
    assert all(engine.generate(asked, Sampling(max_new_tokens=8)))
