"""Each trainer's adapter, called as its trainer calls it."""

from __future__ import annotations

import importlib
import inspect
import sys
import types
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coroutines import finished
from PIL import Image

from rali.errors import InputError
from small import as_tensor


def test_flow_grpo(pictures, expected):
    """As its multi_score does: `__code__` says whether a device is wanted; both image forms."""
    from rali.rewards.flow_grpo import rali_score

    assert "device" in rali_score.__code__.co_varnames
    score = rali_score("cpu")
    assert score.__code__.co_argcount == 3
    prompts, metadata = ("a", "b", "c", "d"), ({},) * 4
    for images in (pictures, as_tensor(*pictures)):
        scores, info = score(images, prompts, metadata)
        assert scores == pytest.approx(expected, abs=0.005) and info == {}
    assert rali_score("cpu", scaling="affine")(pictures, prompts, metadata)[0] == pytest.approx(
        (expected - 1) / 4, abs=0.002
    )


def test_dance_grpo(pictures, expected):
    """As its scripts hold pictures: a list of PIL pictures, or one of them in a loop."""
    from rali.rewards.flow_grpo import rali_score

    score = rali_score("cpu")
    decoded_image = [Image.fromarray(pictures[0])]  # train_grpo_flux.py: the processor's list
    made = torch.tensor(score(decoded_image, None)[0], device="cpu")
    assert made.numpy() == pytest.approx(expected[:1], abs=0.005)
    made = torch.tensor(score(Image.fromarray(pictures[1]), None)[0], device="cpu")
    assert made.numpy() == pytest.approx(expected[1:2], abs=0.005)


def test_ddpo(pictures, expected):
    from rali.rewards.ddpo import rali_reward

    scores, _ = rali_reward()(as_tensor(*pictures), ["a"] * 4, [{}] * 4)
    assert isinstance(scores, np.ndarray) and scores == pytest.approx(expected, abs=0.005)
    assert torch.as_tensor(scores).shape == (4,)  # what the trainer makes of it


def test_backprop(pictures, expected):
    from rali.rewards.backprop import rali_alignprop, rali_loss

    decoded = (as_tensor(*pictures) * 2 - 1).requires_grad_()
    losses, rewards = rali_loss(grad_scale=3.0)(decoded, ["a prompt"] * 4)
    loss = losses.sum() / len(decoded)  # AlignProp's next lines
    loss.backward()
    assert rewards.detach().numpy() == pytest.approx(expected, abs=0.005)
    assert loss.item() == pytest.approx(-3 * expected.mean(), abs=0.02)
    assert decoded.grad is not None and decoded.grad.abs().sum() > 0
    unit = as_tensor(*pictures).requires_grad_()
    rewards, _ = rali_alignprop()(unit, ["a prompt"] * 4, [{}] * 4)
    assert rewards.detach().numpy() == pytest.approx(expected, abs=0.005)
    rewards.sum().backward()
    assert unit.grad is not None


def test_image_reward(pictures, expected, tmp_path):
    from rali.rewards import image_reward

    model = image_reward.load("builtin")
    paths = []
    for n, picture in enumerate(pictures):
        paths.append(str(tmp_path / f"{n}.png"))
        Image.fromarray(picture).save(paths[-1])
    ranks, rewards = model.inference_rank("a prompt", paths)
    assert rewards == pytest.approx(expected, abs=0.005)
    assert [int(np.argsort(ranks)[k]) for k in range(4)] == np.argsort(-expected).tolist()
    assert model.score("a prompt", paths[1]) == pytest.approx(expected[1], abs=0.005)
    assert model.score("a prompt", paths) == rewards


def test_verl(pictures, expected):
    from rali.rewards.verl import compute_score

    told = {"data_source": "x", "solution_str": "", "ground_truth": ""}
    planar = torch.from_numpy(pictures[2]).permute(2, 0, 1)
    assert compute_score(**told, solution_image=planar) == pytest.approx(
        {"score": expected[2], "rali_raw": expected[2]}, abs=0.005
    )
    extra = {"image": Image.fromarray(pictures[1]), "num_turns": 1}
    score = compute_score(**told, extra_info=extra, reward_router_address=None, scaling="affine")
    assert score["score"] == pytest.approx((expected[1] - 1) / 4, abs=0.005)
    assert score["rali_raw"] == pytest.approx(expected[1], abs=0.005)
    frames = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    assert compute_score(**told, solution_image=frames)["score"] == pytest.approx(
        expected.mean(), abs=0.005
    )
    with pytest.raises(InputError, match="solution_image"):
        compute_score(**told, extra_info={})
    with pytest.raises(InputError, match="did you mean 'cutoff'"):  # a guard is not left out
        compute_score(**told, solution_image=planar, cuttoff="familiar")
    with pytest.raises(InputError, match="scaling is 'log'"):
        compute_score(**told, solution_image=planar, scaling="log")


def test_what_a_later_verl_adds_is_left_out_with_one_warning(pictures):
    from rali.rewards.verl import compute_score

    picture = torch.from_numpy(pictures[2]).permute(2, 0, 1)
    with pytest.warns(UserWarning, match="knows no 'reward_model_handle'"):
        first = compute_score(solution_image=picture, reward_model_handle=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compute_score(solution_image=picture, reward_model_handle=3) == first


def test_verl_omni(pictures, expected):
    """As its MultiVisualRewardManager does: the entry's other keys, then what the function takes.

    The package is on no index; versions before `required` hand that on, too.
    """
    from rali.rewards.verl import compute_score

    kwargs = {
        "data_source": "x",
        "solution_image": torch.from_numpy(pictures[0]).permute(2, 0, 1),
        "ground_truth": "a cat",
        "extra_info": {"num_turns": None, "rollout_reward_scores": {}},
        "reward_router_address": "127.0.0.1:1",
        "reward_model_tokenizer": None,
        "model_name": "judge",
        "scaling": "affine",
    }
    taken = inspect.signature(compute_score).parameters.values()
    assert any(each.kind is each.VAR_KEYWORD for each in taken)  # so nothing is filtered out
    assert not inspect.iscoroutinefunction(compute_score)
    found = compute_score(**kwargs)
    assert float(found["score"]) == pytest.approx((expected[0] - 1) / 4, abs=0.002)
    assert found["rali_raw"] == pytest.approx(expected[0], abs=0.005)
    with pytest.warns(UserWarning, match="'required'"):
        assert compute_score(**kwargs, required=True) == found


@pytest.mark.parametrize("module", ["verl", "verl_remote"])
def test_verl_calls_it_from_its_config(module, pictures, expected, request):
    """Through verl's own loader and reward manager, where verl is installed."""
    trainer = pytest.importorskip("verl.trainer.ppo.reward")
    naive = pytest.importorskip("verl.experimental.reward_loop.reward_manager.naive")
    from omegaconf import OmegaConf
    from verl import DataProto

    asked: dict[str, Any] = {"path": f"pkg://rali.rewards.{module}", "name": "compute_score"}
    if remote := module == "verl_remote":
        asked["reward_kwargs"] = {"server_url": request.getfixturevalue("server_url")}
    else:
        asked["reward_kwargs"] = {"scaling": "affine"}
    config = OmegaConf.create({"reward": {"custom_reward_function": asked}})
    tokenizer = types.SimpleNamespace(decode=lambda ids, skip_special_tokens: "a picture")
    picture = {"image": Image.fromarray(pictures[0])}
    data = DataProto.from_dict(
        tensors={
            "responses": torch.ones(1, 3, dtype=torch.long),
            "attention_mask": torch.ones(1, 5, dtype=torch.long),
        },
        non_tensors={
            "data_source": np.array(["generated"], object),
            "reward_model": np.array([{"ground_truth": ""}], object),
            "extra_info": np.array([picture], object),
        },
    )

    async def run() -> dict[str, Any]:
        manager = naive.NaiveRewardManager(config, tokenizer, trainer.get_custom_reward_fn(config))
        return await manager.run_single(data)

    found = finished(run())
    score = expected[0] if remote else (expected[0] - 1) / 4
    assert found["reward_score"] == pytest.approx(score, abs=0.002)
    assert found["reward_extra_info"]["rali_raw"] == pytest.approx(expected[0], abs=0.005)


def test_flow_factory(pictures, expected, monkeypatch):
    """Against the base class as its repository documents it; it is on no package index."""

    @dataclass
    class RewardModelOutput:
        rewards: Any
        extra_info: Any = None

    class PointwiseRewardModel:
        required_fields: tuple[str, ...] = ("image", "prompt")
        use_tensor_inputs = False

        def __init__(self, config: Any, accelerator: Any) -> None:
            self.accelerator, self.config = accelerator, config
            self.device = config.device
            self.dtype = config.dtype
            self.model = None

    package = types.ModuleType("flow_factory")
    rewards = types.ModuleType("flow_factory.rewards")
    rewards.PointwiseRewardModel = PointwiseRewardModel  # type: ignore[attr-defined]
    rewards.RewardModelOutput = RewardModelOutput  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flow_factory", package)
    monkeypatch.setitem(sys.modules, "flow_factory.rewards", rewards)
    module = importlib.import_module("rali.rewards.flow_factory")
    config = types.SimpleNamespace(
        device=torch.device("cpu"), dtype=torch.bfloat16, extra_kwargs={"scaling": "affine"}
    )
    model = module.QualityRewardModel(config, accelerator=None)
    assert model.use_tensor_inputs and model.required_fields == ("image",)
    for image in (list(as_tensor(*pictures)), as_tensor(*pictures)):
        output = model(prompt=["a"] * 4, image=image)
        assert output.rewards.numpy() == pytest.approx((expected - 1) / 4, abs=0.02)
    sys.modules.pop("rali.rewards.flow_factory")


@pytest.mark.slow
def test_trl(pictures, expected, tmp_path: Path):
    """In TRL's own trainer: its call of the function, with the pictures that a rollout made."""
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    from rali.rewards.trl import rali_reward

    words = {word: n for n, word in enumerate(["<pad>", "<eos>", "<unk>", "a", "picture"])}
    raw = Tokenizer(WordLevel(words, unk_token="<unk>"))
    raw.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    shape = LlamaConfig(
        vocab_size=5, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=1, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    paths = []
    for n, picture in enumerate(pictures):
        paths.append(str(tmp_path / f"{n}.png"))
        Image.fromarray(picture).save(paths[-1])
    rows = Dataset.from_dict({"prompt": ["a picture"] * 4})
    seen: list[tuple[list[str], list[float]]] = []
    function = rali_reward("made")

    def rollout(prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
        """A policy that chooses among the pictures; each of a group chooses another."""
        made = [paths[n % 4] for n in range(len(prompts))]
        ids = [tokenizer(prompt)["input_ids"] for prompt in prompts]
        answers = [[3, 4, 1] for _ in prompts]
        logprobs = [[-1.0] * 3 for _ in prompts]
        return {"prompt_ids": ids, "completion_ids": answers, "logprobs": logprobs, "made": made}

    def watched(**columns: Any) -> list[float]:
        scores = function(**columns)
        seen.append((columns["made"], scores))
        return scores

    trainer = GRPOTrainer(
        model=LlamaForCausalLM(shape),
        reward_funcs=watched,
        rollout_func=rollout,
        args=GRPOConfig(
            output_dir=str(tmp_path / "out"), per_device_train_batch_size=4, num_generations=2,
            max_completion_length=3, max_steps=1, use_cpu=True, report_to="none",
            save_strategy="no", bf16=False,
        ),
        train_dataset=rows,
        processing_class=tokenizer,
    )  # fmt: skip
    trainer.train()
    assert seen
    by_path = dict(zip(paths, expected, strict=True))
    for columns, scores in seen:
        assert scores == pytest.approx([by_path[path] for path in columns], abs=0.005)
        assert scores[0] != scores[1]  # of one group
    with pytest.raises(InputError, match="column"):
        rali_reward("image")(prompts=["a"], completions=["b"], path=paths)
