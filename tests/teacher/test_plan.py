"""What a training will take: batch arithmetic and GPU memory."""

from __future__ import annotations

import dataclasses

import pytest

from rali.errors import InputError
from rali.teacher.grpo import GrpoConfig
from rali.teacher.memory import SHAPES, describe_memory, memory_of, model_config, on_meta
from rali.teacher.plan import plan_batch
from rali.teacher.tasks import TaskConfig


def test_the_arithmetic_in_words():
    plan = plan_batch(
        prompts_per_step=16, num_generations=6, micro_batch=6, pair_scope="global", processes=2
    )
    assert plan.words().startswith(
        "8 prompts × 6 completions on each of 2 processes = 16 pictures compared"
    )
    assert (plan.local_prompts, plan.accumulation, plan.compared) == (8, 8, 16)
    alone = dataclasses.replace(plan, compared=8)
    assert "16 pictures compared, 8 at a time" in alone.words()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompts_per_step": 1}, "only 1 to compare"),
        ({"prompts_per_step": 2, "pair_scope": "process", "processes": 2}, "or pair_scope: "),
        ({"prompts_per_step": 5, "processes": 2}, "cannot share"),
        ({"micro_batch": 5}, "does not divide"),
        ({"num_generations": 1}, "num_generations is 1"),
        ({"pair_scope": "world"}, "global, process"),
    ],
)
def test_settings_that_cannot_work_are_refused(values, message):
    settings = {
        "prompts_per_step": 4, "num_generations": 4, "micro_batch": 4, "pair_scope": "global"
    } | values  # fmt: skip
    with pytest.raises(InputError, match=message):
        plan_batch(**settings)


@pytest.mark.slow
def test_a_7b_teacher_fits_where_the_recipes_say(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    name = "Qwen/Qwen2.5-VL-7B-Instruct"
    from transformers import Qwen2_5_VLConfig

    config = Qwen2_5_VLConfig(**SHAPES[name])
    count = sum(p.numel() for p in on_meta(config).parameters())
    assert count == pytest.approx(8.29e9, rel=0.01)  # what Qwen publishes
    settings = GrpoConfig(tasks=[TaskConfig()], prompts_per_step=8, micro_batch=2)
    full = memory_of(settings, settings.plan(1), config)
    shared = memory_of(settings, settings.plan(8), config)
    settings = dataclasses.replace(settings, lora=dataclasses.replace(settings.lora, rank=64))
    small = memory_of(settings, settings.plan(1), config)
    assert small.total < 80 < full.total and shared.total < 80
    assert "reference" not in small.parts and full.parts["reference"] > 14
    assert shared.parts["reference"] == full.parts["reference"], "FSDP2 does not share it"
    assert describe_memory(settings, settings.plan(1)).startswith("GPU memory: about ")
    assert model_config("nobody/nothing") is None
