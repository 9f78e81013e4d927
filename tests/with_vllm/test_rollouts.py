"""TRL's rollouts by vLLM: the prompt that is trained on, read once, with transformers' numbers.

Run by `make test-vllm` in an environment of its own.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

vllm = pytest.importorskip("vllm")
pytest.importorskip("trl", reason="TRL is not installed: pip install 'rali[teach]'")

from accelerate import Accelerator  # noqa: E402
from scripted import manifest  # noqa: E402
from trl.generation.vllm_generation import VLLMGeneration  # noqa: E402

from rali.errors import InputError  # noqa: E402
from rali.teacher.grpo import GrpoConfig, train  # noqa: E402
from rali.teacher.models import NANO, load_processor, load_teacher  # noqa: E402
from rali.teacher.questions import find_prompt  # noqa: E402
from rali.teacher.tasks import TaskConfig  # noqa: E402
from rali.teacher.vllm_rollouts import (  # noqa: E402
    VLLM,
    OncePerPicture,
    check_rollouts,
    mend,
    vllm_version,
)  # fmt: skip

VQ = find_prompt("visualquality-r1/score")
SIZES = ((64, 48), (224, 224), (500, 120), (90, 700), (640, 480))
LOW = 100 * 100  # most pixels, below those of all pictures but one


class Float32(VLLMGeneration):
    """TRL's own, but for the engine: in float32, so that its numbers can be compared."""

    def _init_vllm(self) -> None:
        self.llm = vllm.LLM(
            str(NANO), dtype="float32", max_model_len=1024, max_num_batched_tokens=16384,
            enforce_eager=True, logprobs_mode="processed_logprobs", seed=0,
        )  # fmt: skip


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 256, (h, w, 3), np.uint8)) for w, h in SIZES]


@pytest.fixture(scope="module")
def generation() -> Float32:
    model, processor = load_teacher("nano", dtype="float32")
    return Float32(model, Accelerator(cpu=True), processor, max_completion_length=40)


def tokenized(processor, pictures):
    """Prompts as TRL makes them: their tokens, and the pictures' tensors for the model."""
    chats = []
    for picture in pictures:
        (turn,) = VQ.messages()
        parts = [
            part | ({"image": picture} if part["type"] == "image" else {})
            for part in turn["content"]
        ]
        chats.append([{**turn, "content": parts}])
    return [
        processor.apply_chat_template(
            [chat], add_generation_prompt=True, tokenize=True, return_dict=True,
            return_tensors="pt",
        )
        for chat in chats
    ]  # fmt: skip


def test_these_are_the_versions_that_rollouts_are_allowed_with():
    assert vllm_version().startswith(f"{VLLM}.")
    check_rollouts({"use_vllm": True})


def test_without_the_mending_vllm_reads_another_prompt(generation, pictures):
    """Fails with a TRL that sends pictures right, which needs no mending."""
    inputs = tokenized(generation.processing_class, pictures[1:2])
    ids = inputs[0]["input_ids"][0].tolist()
    read, *_ = generation.generate([ids], [pictures[1:2]], 1)
    assert len(read[0]) > len(ids)


def check_agreement(generation, processor, pictures) -> None:
    """What vLLM read and how likely it holds what it wrote, against transformers."""
    inputs = tokenized(processor, pictures)
    prompts = [each["input_ids"][0].tolist() for each in inputs]
    assert len({len(ids) for ids in prompts}) > 2, "five sizes, several lengths"
    read, written, logprobs, _ = generation.generate(prompts, [[own] for own in pictures], 1)
    assert [list(ids) for ids in read] == prompts
    for each, ids, tokens, found in zip(inputs, prompts, written, logprobs, strict=True):
        tokens = list(tokens)
        each["input_ids"] = torch.tensor([ids + tokens])
        each["attention_mask"] = torch.ones_like(each["input_ids"])
        kinds = each["mm_token_type_ids"]
        each["mm_token_type_ids"] = torch.cat([kinds, kinds.new_zeros(1, len(tokens))], 1)
        with torch.inference_mode():
            logits = generation.model(**each).logits[0, len(ids) - 1 : -1]
        wanted = logits.log_softmax(-1)[range(len(tokens)), tokens]
        assert np.abs(np.array(found)[:, 0] - wanted.numpy()).max() < 1e-2


@pytest.mark.parametrize("max_pixels", [None, LOW])
def test_prompts_and_log_probabilities_are_those_of_transformers(generation, pictures, max_pixels):
    processor = load_processor("nano", max_pixels=max_pixels)
    plain = generation.llm
    generation.llm = OncePerPicture(plain, processor)
    try:
        check_agreement(generation, processor, pictures)
    finally:
        generation.llm = plain


def test_an_engine_that_takes_no_new_weights_is_refused(generation):
    with pytest.raises(InputError, match="has packed the model's weights"):
        mend(generation, generation.processing_class)


def test_three_steps_of_grpo(tmp_path: Path, monkeypatch):
    # TRL lets vLLM compile the model, which for a CPU takes longer than all else here.
    monkeypatch.setattr(torch._dynamo.config, "disable", True)
    # The nano's first words earn nothing, so weight decay alone moves the weights, by 9 and 6 %.
    config = GrpoConfig(
        model="nano", tasks=[TaskConfig(manifests=[manifest(tmp_path, "a", 12)])],
        epochs=1, prompts_per_step=4, num_generations=2, micro_batch=8, lr=3e-4,
        max_completion_length=16, dtype="float32", gradient_checkpointing=False, vision=False,
        max_pixels=LOW,
        trl={"use_vllm": True, "vllm_max_model_length": 512, "max_steps": 3, "weight_decay": 300.0},
    )  # fmt: skip
    assert (train(config, tmp_path / "run") / "model.safetensors").is_file()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    steps = [row for row in map(json.loads, lines) if "loss" in row]
    assert len(steps) == 3
    for row in steps:  # the engine's weights follow; they are in half precision
        assert row["sampling/sampling_logp_difference/mean"] < 1e-2
