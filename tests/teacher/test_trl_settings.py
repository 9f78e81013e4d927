"""Fields of TRL's that contradict a setting, do nothing or stop a training late are refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from rali.errors import InputError
from rali.teacher.adapter import LoraConfig, check_targets
from rali.teacher.checks import check_adapter
from rali.teacher.dry_run import grpo_dry_run
from rali.teacher.grpo import GrpoConfig
from rali.teacher.sft import SftConfig
from rali.teacher.shapes import shape_from
from rali.teacher.tasks import TaskConfig
from rali.teacher.training import TrainingConfig
from rali.teacher.trl_fields import check_trl, trl_fields
from rali.teacher.trl_settings import HANDED_ON, NEEDS, OURS, REFUSED, VALUES, check_setting
from rali.teacher.vllm_rollouts import check_sizes


def check(settings: TrainingConfig) -> None:
    for name in settings.trl:
        check_setting(settings, name)


def test_each_field_of_trl_stands_in_one_table():
    """Fails for a TRL with new fields, about which somebody has to decide."""
    import trl

    refused = [field for fields in REFUSED.values() for field in fields.split()]
    tables = [*OURS, *refused, *NEEDS, *HANDED_ON.split()]
    assert len(tables) == len(set(tables))
    kinds = (trl.GRPOConfig, trl.SFTConfig)
    assert set(tables) == {field.name for kind in kinds for field in dataclasses.fields(kind)}
    assert {field for field, _ in VALUES} <= set(tables)


@pytest.mark.parametrize(
    ("trl", "message"),
    [
        ({"learning_rate": 1e-5}, "set lr, which would contradict it"),
        ({"num_generations": 4}, "set num_generations"),
        ({"steps_per_generation": 1}, "set prompts_per_step"),
        ({"lr_scheduler_type": "cosine"}, "set lr_schedule"),
        ({"reward_weights": [1.0]}, "set tasks"),
        ({"data_seed": 7}, "trl.data_seed: set data_seed, which would contradict it"),
        ({"shuffle_dataset": True}, "set data_seed"),
        ({"activation_checkpointing": True}, "set gradient_checkpointing"),
        ({"eval_strategy": "steps"}, "is given no pictures to evaluate on; set watch"),
        ({"load_best_model_at_end": True}, "set watch"),
        ({"resume_from_checkpoint": "x"}, "resumes from RUN/checkpoints"),
        ({"push_to_hub": True}, "hf upload OWNER/NAME RUN/model"),
        ({"hub_token": "x"}, "hf auth login"),
        ({"max_length": 512}, "set max_pixels"),
        ({"auto_find_batch_size": True}, "set micro_batch"),
        ({"save_only_model": True}, "would resume with other steps"),
        ({"model_init_kwargs": {"dtype": "auto"}}, "rali loads the model"),
        ({"save_strategy": "epoch"}, "trl.save_strategy is 'epoch': set save_every"),
        ({"dataloader_prefetch_factor": 2}, "does nothing without trl.dataloader_num_workers"),
        ({"dataloader_num_workers": 1, "dataloader_multiprocessing_context": "spawn"}, "give fork"),
        ({"vllm_max_model_length": 512}, "does nothing without trl.use_vllm; add it"),
        ({"use_vllm": True, "vllm_server_port": 1}, "no server is asked"),
        ({"vespo_k_pos": 1.0}, "does nothing without trl.loss_type=vespo"),
        ({"label_smoothing_factor": 0.1}, "have no labels"),
        ({"generation_kwargs": {"max_tokens": 9}}, r"trl.generation_kwargs.max_tokens: set max_c"),
        ({"deepspeed": "nowhere.json"}, "trl.deepspeed: nowhere.json cannot be read: No such file"),
        ({"fsdp": True, "fsdp_config": "nowhere.json"}, "trl.fsdp_config: nowhere.json cannot"),
        ({"accelerator_config": {"split_batches": True}}, "micro_batch is of one process"),
    ],
)
def test_what_a_reinforcement_does_not_take(trl, message):
    with pytest.raises(InputError, match=message):
        check(GrpoConfig(trl=trl))


def test_what_a_fine_tuning_takes_otherwise():
    check(SftConfig(trl={"lr_scheduler_type": "linear", "label_smoothing_factor": 0.1}))
    for trl, message in (
        ({"data_seed": 7}, "set seed,"),
        ({"shuffle_dataset": True}, "set seed,"),
        ({"train_sampling_strategy": "random"}, "set seed,"),
        ({"gradient_accumulation_steps": 2}, "set batch_size and micro_batch,"),
        ({"warmup_steps": 3}, "set warmup,"),
        ({"packing": True}, "does not do this with pictures"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "TRL evaluates nothing"),
    ):
        with pytest.raises(InputError, match=message):
            check(SftConfig(trl=trl))


def test_what_is_handed_on(tmp_path):
    """A file of JSON, no checkpoints as YAML reads it, FSDP as transformers switches it on."""
    (tmp_path / "zero3.json").write_text('{"zero_optimization": {"stage": 3}}')
    settings = GrpoConfig(
        trl={
            "deepspeed": str(tmp_path / "zero3.json"), "save_strategy": False, "fsdp": True,
            "use_vllm": True, "vllm_max_model_length": 2048, "dataloader_num_workers": 2,
            "dataloader_prefetch_factor": 2, "accelerator_config": '{"even_batches": true}',
            "sync_ref_model": True, "generation_kwargs": {"min_p": 0.1}, "max_steps": 3,
        }
    )  # fmt: skip
    assert settings.trl["save_strategy"] == "no"
    check(settings)
    check_trl("GRPOConfig", settings.trl)
    for more in ({"beta": 0.0}, {"lora": LoraConfig(rank=4)}):
        with pytest.raises(InputError, match="there is no reference model with"):
            check(dataclasses.replace(settings, **more))
    (tmp_path / "zero3.json").write_text("[]")
    with pytest.raises(InputError, match=r"trl.deepspeed: .*it holds a list"):
        check(settings)


@pytest.mark.parametrize(
    "trl",
    [
        {"eval_strategy": "no"},
        {"eval_strategy": False, "do_eval": False, "per_device_eval_batch_size": 8},
        {"push_to_hub": False, "hub_strategy": "every_save", "hub_token": None},
        {"data_seed": None, "shuffle_dataset": False, "logging_strategy": "steps"},
        {"activation_checkpointing": False},
        {"remove_unused_columns": False, "dataloader_in_order": True, "save_only_model": False},
        {"dataloader_prefetch_factor": None, "sync_ref_model": False},
        {"model_init_kwargs": None, "fsdp_config": None},
    ],
)
def test_a_value_that_asks_for_nothing_is_taken(trl):
    """As runs of before have it, which could not go on with it, nor without."""
    for kind in (GrpoConfig, SftConfig):
        check(kind(trl={name: value for name, value in trl.items() if name in fields(kind)}))


def fields(kind: type[TrainingConfig]) -> dict[str, str]:
    return trl_fields("GRPOConfig" if kind is GrpoConfig else "SFTConfig")


def test_what_asks_for_nothing_depends_on_what_rali_gives():
    check(SftConfig(trl={"max_length": None, "truncation_mode": "keep_start", "packing": False}))
    check(SftConfig(trl={"train_sampling_strategy": "sequential"}))
    for trl in (
        {"max_length": 1024},  # TRL's default, which rali's takes the place of
        {"remove_unused_columns": True},
        {"dataloader_in_order": False},
        {"gradient_checkpointing": False},
        {"packing": True},
    ):
        with pytest.raises(InputError, match=next(iter(trl))):
            check(SftConfig(trl=trl))


def test_fields_of_what_is_switched_off_are_taken():
    """As by `--set trl.use_vllm=false` on a recipe that says how vLLM works."""
    check(GrpoConfig(trl={"use_vllm": False, "vllm_max_model_length": 2048}))
    check(GrpoConfig(trl={"vllm_mode": "colocate", "vllm_enable_sleep_mode": False}))
    with pytest.raises(InputError, match="does nothing without"):
        check(GrpoConfig(trl={"dataloader_num_workers": 0, "dataloader_prefetch_factor": 2}))


def test_an_adapter_on_layers_that_the_model_does_not_have_is_refused():
    def of(*targets: str, model: str = "nano", **more) -> GrpoConfig:
        return GrpoConfig(model=model, lora=LoraConfig(rank=4, targets=list(targets)), **more)

    check_adapter(of("q_proj", "self_attn.k_proj", "qkv", "embed_tokens"))
    check_adapter(of("anything", model="nobody/nothing"))
    check_adapter(GrpoConfig(model="Qwen/Qwen2.5-VL-7B-Instruct", lora=LoraConfig(rank=4)))
    with pytest.raises(InputError, match=r"no layer k_prj; did you mean k_proj\?"):
        check_adapter(of("q_proj", "k_prj"))
    with pytest.raises(InputError, match=r"has no layer zzz; there are .*down_proj, gate_proj"):
        check_adapter(of("zzz", model="Qwen/Qwen2.5-VL-7B-Instruct"))
    with pytest.raises(InputError, match="qkv outside the vision tower, which does not learn;"):
        check_adapter(of("qkv", vision=False))
    with pytest.raises(InputError, match="no adapter on lm_head"):
        check_adapter(of("lm_head", model="nobody/nothing"))
    # Some of the usual names are enough, as a mixture of experts has no gate_proj.
    check_targets(LoraConfig(rank=4), "m", ["q_proj"], eyes=True)
    with pytest.raises(InputError, match="no layer q_proj"):
        check_targets(LoraConfig(rank=4), "m", ["qkv_proj"], eyes=True)


@pytest.mark.parametrize("ending", ["qweight", "weight_packed"])
def test_targets_are_not_looked_for_among_weights_in_another_form(tmp_path, ending):
    """AWQ and GPTQ store a layer's packed weight, its zeros and scales under names of their own."""
    text = {"num_attention_heads": 2, "hidden_size": 8, "num_hidden_layers": 1}
    config = text | {"intermediate_size": 8, "vocab_size": 8}
    layer = "model.layers.0.self_attn.q_proj"
    packed = [(f"{layer}.{ending}", [8, 1]), (f"{layer}.scales", [1, 8])]
    shape = shape_from(config, [*packed, ("model.visual.fc1.weight", [8, 8])])
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = {name: np.zeros(sides, np.float32) for name, sides in packed}
    save_file(weights, tmp_path / "model.safetensors")
    assert {name for name, *_ in shape.linear} == {"", "visual.fc1"}
    check_adapter(GrpoConfig(model=str(tmp_path), lora=LoraConfig(rank=4)))
    check_adapter(GrpoConfig(model=str(tmp_path), lora=LoraConfig(rank=4, targets=["my_proj"])))


def test_a_vllm_that_prompts_or_gpus_do_not_fit_is_refused(two):
    config = GrpoConfig(
        model="nano", tasks=[TaskConfig(manifests=two[:1])], prompts_per_step=4, micro_batch=6,
        trl={"use_vllm": True, "vllm_max_model_length": 256},
    )  # fmt: skip
    with pytest.raises(InputError, match=r"vllm_max_model_length is 256; the prompt visualquality"):
        grpo_dry_run(config, 1).check()
    fits = {"use_vllm": True, "vllm_max_model_length": 2048, "vllm_tensor_parallel_size": 2}
    check_sizes(fits, config.asked, 512, 4)
    with pytest.raises(InputError, match="is 2, into which 3 processes cannot be divided"):
        check_sizes(fits, config.asked, 512, 3)
    check_sizes(fits | {"use_vllm": False}, config.asked, 512, 3)
