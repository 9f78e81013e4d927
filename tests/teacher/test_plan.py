"""What a training will take: batch arithmetic and GPU memory."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import pytest

from rali.errors import InputError
from rali.runs.config import from_dict, read_yaml
from rali.teacher.adapter import LoraConfig
from rali.teacher.decoding import AUTHORS
from rali.teacher.dry_run import grpo_dry_run
from rali.teacher.grpo import GrpoConfig
from rali.teacher.memory import describe_length, describe_memory, memory_of
from rali.teacher.plan import plan_batch
from rali.teacher.sft import SftConfig
from rali.teacher.shapes import model_shape, shape_from
from rali.teacher.tasks import TaskConfig
from rali.teacher.trl_fields import check_trl, trl_fields

RECIPES = Path(__file__).parents[2] / "recipes"


def test_the_arithmetic_in_words():
    plan = plan_batch(
        prompts_per_step=16, num_generations=6, micro_batch=6, pair_scope="global", processes=2
    )
    assert plan.words().startswith(
        "8 prompts × 6 completions on each of 2 GPUs = 16 pictures compared"
    )
    assert (plan.local, plan.accumulation, plan.compared) == (48, 8, 16)
    alone = dataclasses.replace(plan, compared=8)
    assert "16 pictures compared, 8 at a time" in alone.words()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompts_per_step": 1}, "only 1 to compare"),
        ({"prompts_per_step": 2, "pair_scope": "process", "processes": 2}, "or pair_scope: "),
        ({"prompts_per_step": 5, "processes": 2}, "cannot share"),
        ({"micro_batch": 5}, "does not divide; type --set micro_batch=4$"),
        ({"micro_batch": 32}, "does not divide; type --set micro_batch=16$"),
    ],
)
def test_settings_that_cannot_work_are_refused(values, message):
    settings = {
        "prompts_per_step": 4, "num_generations": 4, "micro_batch": 4, "pair_scope": "global"
    } | values  # fmt: skip
    with pytest.raises(InputError, match=message):
        plan_batch(**settings)


def test_the_authors_recipe_runs_on_the_numbers_of_gpus_that_its_head_names():
    """Each GPU's prompts are a multiple of the 8 compared; over all GPUs the 128 are."""
    config = from_dict(GrpoConfig, read_yaml(RECIPES / "visualquality-r1-kadid-authors.yaml"))

    def fitting(scope: str) -> list[int]:
        found = []
        for processes in range(1, 130):
            try:
                plan = dataclasses.replace(config, pair_scope=scope).plan(processes)
            except InputError:
                continue
            assert plan.compared == 8
            found.append(processes)
        return found

    assert fitting("process") == [1, 2, 4, 8, 16]
    assert fitting("global") == [1, 2, 4, 8, 16, 32, 64, 128]
    with pytest.raises(InputError, match="the 4 pictures of pair_scope process; type --set pair_s"):
        config.plan(32)


def test_without_a_reward_that_compares_no_pair_scope_counts():
    settings = GrpoConfig(
        tasks=[TaskConfig(reward="threshold")], prompts_per_step=4, num_generations=8,
        micro_batch=2, pair_scope="process",
    )  # fmt: skip
    plan = settings.plan(8)
    assert (plan.compared, plan.local) == (4, 4)
    assert plan == dataclasses.replace(settings, pair_scope="global", compare=3).plan(8)


# Sizes that Qwen publishes in config.json: language model, vision tower, one matrix for both ends.
PUBLISHED = {
    "Qwen/Qwen2.5-VL-3B-Instruct": ("qwen2_5_vl", 3.75e9, True, {
        "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
        "num_attention_heads": 16, "num_key_value_heads": 2, "vocab_size": 151936,
    }, {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
        "out_hidden_size": 2048}),
    "Qwen/Qwen2.5-VL-7B-Instruct": ("qwen2_5_vl", 8.29e9, False, {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
    }, {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
        "out_hidden_size": 3584}),
    "Qwen/Qwen3-VL-4B-Instruct": ("qwen3_vl", 4.44e9, True, {
        "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
    }, {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16,
        "out_hidden_size": 2560, "deepstack_visual_indexes": [5, 11, 17]}),
    "Qwen/Qwen3-VL-8B-Instruct": ("qwen3_vl", 8.77e9, False, {
        "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
    }, {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16,
        "out_hidden_size": 4096, "deepstack_visual_indexes": [8, 16, 24]}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_shapes_are_those_of_the_models(name):
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    kind, count, tied, text, look = PUBLISHED[name]
    config = AutoConfig.for_model(kind, text_config=text, vision_config=look)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = tied
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    shape = shape_from(config.to_dict(), [(n, list(p.shape)) for n, p in model.named_parameters()])
    assert shape == model_shape(name)
    assert shape.parameters == pytest.approx(count, rel=0.002)
    assert shape.token == (32 if kind == "qwen3_vl" else 28)


def test_a_7b_teacher_fits_where_the_recipes_say():
    name = "Qwen/Qwen2.5-VL-7B-Instruct"
    shape = model_shape(name)
    settings = GrpoConfig(tasks=[TaskConfig()], prompts_per_step=8, micro_batch=2)
    full = memory_of(settings, shape, settings.plan(1))
    shared = memory_of(settings, shape, settings.plan(8))
    settings = dataclasses.replace(settings, lora=LoraConfig(rank=64))
    small = memory_of(settings, shape, settings.plan(1))
    assert small.total < 80 < full.total and shared.total < 80
    assert "reference" not in small.parts and full.parts["reference"] == pytest.approx(15.4, 0.01)
    assert shared.parts["reference"] == full.parts["reference"], "FSDP2 does not share it"
    four = memory_of(dataclasses.replace(settings, quantization="4bit"), shape, settings.plan(1))
    assert four.parts["weights"] < 0.4 * small.parts["weights"]
    assert describe_memory(settings, settings.plan(1)).startswith("GPU memory: about ")
    # 2 completions of 512 tokens: logits of 1,024 tokens and a tile's 32,768 words, thrice.
    assert small.parts["logits"] == pytest.approx(1024 * 32768 * 4 * 3 / 2**30)
    vllm = dataclasses.replace(settings, trl={"use_vllm": True})
    assert "generation" not in memory_of(vllm, shape, settings.plan(1)).parts
    tuned = SftConfig(max_pixels=1003520)
    assert memory_of(tuned, shape, shards=8).total < 80 < memory_of(tuned, shape).total


def test_a_model_is_known_by_its_files_and_an_unknown_one_is_said_to_be():
    nano = model_shape("nano")
    assert nano.token == 64 and 2.4e6 < nano.parameters < 2.5e6
    assert model_shape("nobody/nothing") is None
    for name in AUTHORS:
        own = "Q-ReAlign" not in name
        assert (model_shape(name) == model_shape("Qwen/Qwen2.5-VL-7B-Instruct")) == own
    assert "not known" in describe_memory(SftConfig(model="runs/other/model"))


def test_prompts_that_may_not_fit_into_vllm_are_told():
    settings = GrpoConfig(
        tasks=[TaskConfig()], max_pixels=1280 * 28 * 28,
        trl={"use_vllm": True, "vllm_max_model_length": 1024},
    )  # fmt: skip
    assert "take up to about 1,992 tokens, and trl.vllm_max_model_l" in describe_length(settings)
    settings.trl["vllm_max_model_length"] = 2048
    assert describe_length(settings) == ""
    settings.trl |= {"vllm_max_model_length": "2048", "vllm_gpu_memory_utilization": "half"}
    assert describe_length(settings) == "" and "vLLM" not in describe_memory(
        settings, settings.plan(1)
    )
    if importlib.util.find_spec("trl"):
        with pytest.raises(InputError, match=r"trl.vllm_max_model_length is '2048'; expected int"):
            grpo_dry_run(settings, 1).check()


@pytest.mark.parametrize("name", ["GRPOConfig", "SFTConfig"])
def test_the_fields_of_trl_are_read_from_its_source(name):
    import trl

    assert set(trl_fields(name)) >= {field.name for field in dataclasses.fields(getattr(trl, name))}
    with pytest.raises(InputError, match=r"trl.max_step: .*did you mean max_steps?"):
        check_trl(name, {"max_step": 1})
    check_trl(name, {"max_steps": 3, "weight_decay": 0, "run_name": None, "fsdp": True})
    with pytest.raises(InputError, match=r"lr_scheduler_type is 'cosin'; did you mean cosine"):
        check_trl(name, {"lr_scheduler_type": "cosin"})
    with pytest.raises(InputError, match=r"trl.optim is 'adamw_torc'; did you mean adamw_torch"):
        check_trl(name, {"optim": "adamw_torc"})
    check_trl(name, {"optim": "adamw_torch", "save_strategy": "no"})
    with pytest.raises(InputError, match=r"trl.max_steps is 'many'; expected int."):
        check_trl(name, {"max_steps": "many"})
    with pytest.raises(InputError, match=r"trl.weight_decay is True; expected float."):
        check_trl(name, {"weight_decay": True})


def test_the_values_that_trl_knows_are_read_from_its_source():
    """Those of its documentation; another is refused before hours of votes or a 7B model."""
    known = ["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"]
    for name in known:
        check_trl("GRPOConfig", {"loss_type": name})
    for name in ("nll", "dft"):
        check_trl("SFTConfig", {"loss_type": name})
    with pytest.raises(InputError, match=r"trl.loss_type is 'dapoo'; did you mean dapo"):
        check_trl("GRPOConfig", {"loss_type": "dapoo"})
    with pytest.raises(InputError, match=r"importance_sampling_level is 'x'; there are sequence, "):
        check_trl("GRPOConfig", {"importance_sampling_level": "x"})
    check_trl("GRPOConfig", {"scale_rewards": "none", "vllm_server_host": "x"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_pixels": 10_000, "max_pixels": 100}, "must not be above max_pixels"),
        ({"quantization": "4bit"}, "lora.rank=64"),
        ({"quantization": "8bit"}, "give 4bit"),
        ({"dtype": "int8"}, "bfloat16, float16 or float32"),
        ({"max_completion_length": 0}, "max_completion_length is 0; give 1 or more"),
        ({"lr": 1e-6, "lr_end": 1e-6, "lr_schedule": "polynomial"}, "give less than lr, 1e-06"),
        ({"micro_batch": 0}, "micro_batch is 0"),
        ({"prompts_per_step": 0}, "prompts_per_step is 0; give 1 or more"),
        ({"num_generations": 1}, "num_generations is 1; give 2 or more"),
        ({"pair_scope": "world"}, "there are global, process"),
        ({"max_pixels": 0}, "max_pixels is 0; give a number above 0"),
        ({"lora": {"rank": -4}}, "lora.rank is -4; give 0 or more"),
        ({"lora": {"dropout": 1}}, "lora.dropout is 1; give less than 1"),
        ({"lora": {"rank": 8, "targets": []}}, "lora.targets names no layer"),
        ({"watch": {"prompt": "q-insight/scor"}}, "watch.prompt: There is no prompt 'q-insight/sc"),
        ({"watch": {"prompt": "q-insight/compare"}}, "watch.prompt: q-insight/compare asks for no"),
        ({"max_pixels": "1e6"}, "max_pixels is '1e6'; expected int or nothing"),
        ({"data_seed": "x"}, "data_seed is 'x'; expected int or nothing"),
        ({"trl": {"max_steps": "abc"}}, "trl.max_steps is 'abc'; expected int"),
        ({"trl": {"max_steps": "1e3"}}, "trl.max_steps is 1000.0; expected int"),
        ({"trl": {"num_iterations": 0}}, "trl.num_iterations is 0; give 1 or more"),
        ({"trl": {"num_iterations": 3}, "save_every": 10}, "give a multiple, such as 12"),
    ],
)
def test_settings_that_contradict_each_other_or_cannot_be_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        from_dict(GrpoConfig, values)
