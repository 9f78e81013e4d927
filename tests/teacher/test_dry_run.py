"""A dry run: what would be done, and all that would stop it, without torch."""

from __future__ import annotations

import dataclasses
import re
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rali.cli import app
from rali.data.triplets import Triplet, write_triplets
from rali.errors import InputError
from rali.teacher.adapter import LoraConfig
from rali.teacher.checks import BITSANDBYTES
from rali.teacher.claims import claim_run
from rali.teacher.dry_run import grpo_dry_run, sft_dry_run
from rali.teacher.grpo import GrpoConfig, grpo_start, train
from rali.teacher.sft import SftConfig, SftSource, train_sft
from rali.teacher.tasks import RewardConfig, TaskConfig


def test_steps_of_an_epoch_are_said_and_nothing_stops_it(two):
    config = GrpoConfig(
        model="nano", tasks=[TaskConfig(manifests=two[:1])], epochs=2, prompts_per_step=4,
        num_generations=2, micro_batch=2, trl={"max_steps": 5},
    )  # fmt: skip
    found = grpo_dry_run(config, 2)
    found.check()
    batch, steps, memory = found.lines
    assert batch.startswith("2 prompts × 2 completions on each of 2 GPUs = 4 pictures compared")
    assert steps == (
        "12 examples of one: 3 steps an epoch, 6 steps in 2 epochs; trl.max_steps makes it 5."
    )
    config.trl = {"num_iterations": 2}
    assert grpo_dry_run(config, 2).lines[1].endswith(": 6 steps an epoch, 12 steps in 2 epochs.")
    assert "The reference model of the KL term is whole on each GPU" in memory


def test_all_that_would_stop_it_is_said_at_once(two):
    Path(two[0]).with_name("one-3.png").unlink()
    config = GrpoConfig(
        model="nano", tasks=[TaskConfig(manifests=two[:1])], prompts_per_step=4, micro_batch=2,
        num_generations=2, trl={"max_stepz": 5}, lora=LoraConfig(rank=8), quantization="4bit",
    )  # fmt: skip
    with pytest.raises(InputError, match=r"things would stop this training:\n") as caught:
        grpo_dry_run(config, 1).check()
    assert "trl.max_stepz: GRPOConfig of TRL has no such field; did you mean max_steps?" in str(
        caught.value
    )
    assert "1 of 12 pictures are missing or empty" in str(caught.value)


def broken(two, case) -> GrpoConfig:
    config = GrpoConfig(
        model="nano", tasks=[TaskConfig(manifests=two[:1])], prompts_per_step=4, micro_batch=2,
        num_generations=2,
    )  # fmt: skip
    if case == "field":
        config.trl = {"max_stepz": 5}
    elif case == "vllm":
        config.trl = {"use_vllm": True}
    elif case == "manifest":
        config.tasks[0].manifests.append(str(Path(two[0]).with_name("nowhere.csv")))
    elif case == "picture":
        Path(two[0]).with_name("one-3.png").unlink()
    elif case == "probe":
        config.watch.probes = ["nowhere.png"]
    elif case == "batch":
        config.micro_batch = 7
    elif case == "tracker":
        config.report_to = ["tensorbord"]
    elif case == "attention":
        config.attn_implementation = "flash_attention_9"
    elif case == "loss":
        config.trl = {"loss_type": "dapoo"}
    elif case == "evaluated":
        config.trl = {"eval_strategy": "steps"}
    elif case == "layer":
        config.lora = LoraConfig(rank=4, targets=["q_prj"])
    elif case == "watched":
        (Path(two[0]).parent / "two-2.png").unlink()
        config.watch.manifests = two[1:]
        config.watch.split = "train"
    return config


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("field", "did you mean max_steps"),
        ("vllm", r"This needs vllm, .* pip install 'rali\[rollouts\]'"),
        ("manifest", "There is no file or folder at .*nowhere.csv"),
        ("picture", "1 of 12 pictures are missing or empty"),
        ("probe", "there is no picture nowhere.png"),
        ("batch", "which micro_batch 7 does not divide"),
        ("tracker", "report_to is 'tensorbord'; did you mean tensorboard"),
        ("attention", "attn_implementation is 'flash_attention_9'; did you mean flash_attention_"),
        ("loss", "trl.loss_type is 'dapoo'; did you mean dapo"),
        ("evaluated", "trl.eval_strategy: TRL is given no pictures to evaluate on; set watch"),
        ("layer", r"lora.targets: nano has no layer q_prj; did you mean q_proj\?"),
        ("watched", "1 of 17 pictures are missing or empty"),
    ],
)
def test_a_training_is_stopped_by_what_its_dry_run_names(two, tmp_path, case, message):
    if case == "vllm" and find_spec("vllm"):
        pytest.skip("vLLM is installed here")
    config = broken(two, case)
    with pytest.raises(InputError, match=message) as said:
        grpo_dry_run(config, 1).check()
    with pytest.raises(InputError) as stopped:
        train(config, tmp_path / "run")
    assert str(stopped.value) == str(said.value)
    assert not (tmp_path / "run").exists(), "before the folder is claimed"


def test_an_absent_manifest_hides_nothing_else(two):
    config = broken(two, "manifest")
    broken(two, "picture")
    config.watch.probes, config.watch.manifests = ["nowhere.png"], ["nor-this.csv"]
    config.trl = {"num_iterations": 2}
    assert "An epoch has 2 steps for each 4 pictures" in grpo_dry_run(config, 1).lines[1]
    with pytest.raises(InputError, match="3 things would stop this training") as said:
        grpo_dry_run(config, 1).check()
    assert re.search(r"There is no file or folder at .*nowhere.csv, nor-this.csv", str(said.value))
    assert "there is no picture nowhere.png" in str(said.value)
    assert "1 of 12 pictures are missing or empty" in str(said.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"report_to": ["tensorboard"]}, "tensorboard needs tensorboard, which is not installed"),
        ({"report_to": ["flyte"]}, "flyte needs flytekit, which is not installed"),
        ({"attn_implementation": "flash_attention_2"}, "needs flash_attn or kernels, which is not"),
        ({"attn_implementation": "flash_attention_3"}, "needs flash_attn_interface or kernels"),
        ({"attn_implementation": "kernels-community/flash-attn2"}, "attn2 needs kernels, which"),
        ({"trl": {"deepspeed": {"bf16": {}}}}, r"needs deepspeed, .*'rali\[deepspeed\]'"),
        ({"trl": {"optim": "paged_adamw_8bit"}}, r"needs bitsandbytes, .*'rali\[4bit\]'"),
        ({"trl": {"optim": "lion_32bit"}}, r"needs bitsandbytes, .*'rali\[4bit\]'"),
    ],
)
def test_what_is_not_installed_is_named(two, monkeypatch, settings, message):
    here = {"trl", "transformers"}
    monkeypatch.setattr("rali.teacher.checks.find_spec", lambda name: name in here or None)
    shared = {"tasks": [TaskConfig(manifests=two[:1])], "prompts_per_step": 4, "micro_batch": 6}
    config = GrpoConfig(model="nano", **shared, **settings)
    with pytest.raises(InputError, match=message):
        grpo_dry_run(config, 1).check()
    here |= {"tensorboardX", "flytekit", "kernels", "deepspeed", "bitsandbytes"}
    grpo_dry_run(config, 1).check()


def test_the_optimisers_of_bitsandbytes_are_those_of_transformers():
    from transformers.training_args import OptimizerNames

    source = (files("transformers") / "trainer_optimizer.py").read_text("utf-8")
    listed = source.partition("_BITSANDBYTES_OPTIMIZERS = [")[2].partition("]")[0]
    known = {name.value for name in OptimizerNames if f"OptimizerNames.{name.name}," in listed}
    assert "lion_32bit" in known
    found = {name.value for name in OptimizerNames if BITSANDBYTES.search(name.value)}
    assert {name for name in found if not name.startswith("galore")} == known


@pytest.mark.parametrize("name", ["sdpa", "eager", "flex_attention", "paged|eager", ""])
def test_attention_without_a_package_is_left_alone(two, name):
    config = GrpoConfig(
        model="nano", tasks=[TaskConfig(manifests=two[:1])], prompts_per_step=4, micro_batch=6,
        attn_implementation=name, report_to=["none"],
    )  # fmt: skip
    grpo_dry_run(config, 1).check()


def test_a_fine_tuning_is_stopped_by_what_its_dry_run_names(rows, tmp_path):
    Path(rows[0].image).unlink()
    texts = [Triplet(r.image, "0", r.score, "Clear.", "raw", 3.9, "vq", "?", 0, True) for r in rows]
    write_triplets(tmp_path / "texts", texts)
    config = SftConfig(
        model="nano", sources=[SftSource(str(tmp_path / "texts"))], trl={"loss_typo": "x"}
    )
    with pytest.raises(InputError, match="2 things would stop this training:") as said:
        sft_dry_run(config, 1).check()
    with pytest.raises(InputError) as stopped:
        train_sft(config, tmp_path / "run")
    assert str(stopped.value) == str(said.value) and "1 of 3 pictures" in str(said.value)
    assert not (tmp_path / "run").exists()


def test_a_finished_training_needs_no_packages_and_no_pictures(two, tmp_path):
    config = broken(two, "vllm")
    claim_run(config, grpo_start(config, done=True).examples, tmp_path / "run")
    (tmp_path / "run" / "model").mkdir()
    broken(two, "picture")
    assert train(config, tmp_path / "run") == tmp_path / "run" / "model"


def test_the_command_names_what_its_dry_run_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["teach", "sft", "--config", "nano-ract-sft", "--set", "trl.max_stepz=1", "-o", "run"]
    said, stopped = (
        CliRunner().invoke(app, [*command, *more]).exception for more in (["--dry-run"], [])
    )
    assert "2 things would stop this training" in str(said) and str(said) == str(stopped)


def test_a_fine_tuning_says_its_batch_too(rows, tmp_path):
    texts = [Triplet(r.image, "0", r.score, "Clear.", "raw", 3.9, "vq", "?", 0, True) for r in rows]
    write_triplets(tmp_path / "texts", texts)
    config = SftConfig(
        model="nano", sources=[SftSource(str(tmp_path / "texts"))], batch_size=4, micro_batch=2
    )
    found = sft_dry_run(config, 2)
    found.check()
    assert found.lines[0] == (
        "4 examples on each of 2 GPUs = 8 examples per step, micro-batches of 2."
    )
    assert found.lines[1] == "3 examples: 0.375 steps an epoch, 1 step in 1 epoch."
    config.trl = {"max_steps": 50}
    assert sft_dry_run(config, 2).lines[1].endswith("1 step in 1 epoch; trl.max_steps makes it 50.")
    config.sources.append(SftSource(str(tmp_path / "nowhere")))
    with pytest.raises(InputError, match=r"There is no file or folder at .*nowhere"):
        sft_dry_run(config, 2).check()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "nono"}, "no teacher's folder nono; give nano, a folder, or a Hub id"),
        ({"model": "/no/such/folder"}, "no teacher's folder /no/such/folder"),
        ({"model": "here/run/model"}, "no teacher's folder here/run/model"),
        ({"revision": "v1"}, "revision is for a model of the Hub, and nano is none"),
    ],
)
def test_a_model_that_can_be_none_is_named_before_the_folder_is_claimed(
    settings, message, two, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    config = dataclasses.replace(broken(two, ""), **settings)
    with pytest.raises(InputError, match=message):
        grpo_dry_run(config, 1).check()
    with pytest.raises(InputError, match=message):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": -1}, "seed is -1; give a whole number from 0 to 4294967295"),
        ({"data_seed": 2**32}, "data_seed is 4294967296"),
        ({"epochs": float("inf")}, "epochs is infinite; give a number"),
    ],
)
def test_numbers_that_no_training_can_work_with_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        GrpoConfig(**settings)


def test_a_reward_without_any_weight_is_refused(two):
    with pytest.raises(InputError, match="weights of all rewards are 0"):
        TaskConfig(manifests=two[:1], rewards=[RewardConfig(name="format", weight=0)])


def test_the_dry_run_says_what_the_command_alone_would_not_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    words = ["teach", "train", "--config", "visualquality-r1-kadid", "-o", "run", "--dry-run"]
    sentence = "accelerate launch --num_processes 16 -m rali teach"
    assert sentence in CliRunner().invoke(app, words).stdout
    assert sentence not in CliRunner().invoke(app, [*words, "--processes", "1"]).stdout
