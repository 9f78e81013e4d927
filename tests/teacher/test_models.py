"""Teachers of other families: tiny models with random weights are asked and trained."""

from __future__ import annotations

import dataclasses
import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_vlms import idefics3, llava, qwen3_vl

from rali.data.manifest import Row, write_manifest
from rali.errors import InputError, MissingExtraError
from rali.files import read_json
from rali.teacher.adapter import LoraConfig
from rali.teacher.answers import Description, Score
from rali.teacher.completions import beside, format_reward, parse, whole
from rali.teacher.data_urls import bounded, token_side
from rali.teacher.engines import Request, Sampling, load_engine
from rali.teacher.grpo import GrpoConfig, train
from rali.teacher.models import (
    NANO,
    load_processor,
    load_teacher,
    teacher_place,
    thought_opening,
)
from rali.teacher.questions import find_prompt
from rali.teacher.reward_functions import Rewards
from rali.teacher.sft import SftConfig, SftExample, train_sft
from rali.teacher.shapes import model_shape
from rali.teacher.tasks import Example, TaskConfig

VQ = find_prompt("visualquality-r1/score")
OPENING = "<think>\n"
FAMILIES = {
    "qwen3-vl": qwen3_vl,
    "qwen3-vl-thinking": lambda folder: qwen3_vl(folder, thinking=True),
    "llava": llava,
    "idefics3": idefics3,
}


# --- templates that open <think> ------------------------------------------------------------------


def test_a_completion_lacks_the_tag_exactly_where_the_template_wrote_it():
    rest = "Blurred.</think><answer>2</answer>"
    for opening, text, reward in [
        (OPENING, rest, 1),
        (OPENING, "<think>" + rest, 0),
        ("", rest, 0),
        ("", "<think>" + rest, 1),
    ]:
        assert format_reward(whole(text, VQ, opening), VQ) == reward
        drawn = [Example(0, "x", (), score=3.0)]
        rewards = Rewards([TaskConfig()], drawn, opening=opening)
        form = next(part for part in rewards.functions if part.__name__ == "format")
        assert form([[{"role": "assistant", "content": text}]], [0]) == [reward]
    assert parse(whole(rest, VQ, OPENING), VQ) == Score(2, "Blurred.")
    fast, described = find_prompt("visualquality-r1/fast"), find_prompt("ract/description")
    text = "\n</think>\n\n<answer>2</answer>"
    assert format_reward(whole(text, fast, OPENING), fast) == 1
    assert format_reward(whole("<answer>2</answer>", fast, OPENING), fast) == 0, "never closed"
    assert parse(OPENING + "\n</think>\n\nBlurred.", described) == Description("Blurred.")


@pytest.mark.slow
def test_what_is_learnt_begins_where_a_thinking_template_ends(tmp_path):
    processor = load_processor(qwen3_vl(tmp_path, thinking=True))
    assert thought_opening(processor) == OPENING and not thought_opening(load_processor("nano"))
    for prompt, text in [
        (VQ, "<think>Blurred.</think><answer>2.00</answer>"),
        (find_prompt("ract/description"), "Blurred."),
    ]:
        learnt = beside(OPENING, text, prompt)
        turn = {"role": "assistant", "content": [{"type": "text", "text": learnt}]}
        asked = processor.apply_chat_template(prompt.messages(), add_generation_prompt=True)
        both = processor.apply_chat_template([*prompt.messages(), turn])
        assert both.startswith(asked)
        answered = whole(both[len(asked) :].partition("<|im_end|>")[0], prompt, OPENING)
        assert type(parse(answered, prompt)) is type(parse(text, prompt))


# --- asked and trained ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[Row]:
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    found = []
    for index in range(4):
        path = folder / f"{index}.png"
        Image.fromarray(draw.integers(0, 255, (90, 60 + 40 * index, 3), np.uint8)).save(path)
        found.append(Row(path, score=1.0 + index, split="train", dataset="x"))
    write_manifest(found, folder / "x.csv")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_asked_fine_tuned_and_reinforced(family, rows, tmp_path):
    model = FAMILIES[family](tmp_path / "start")
    engine = load_engine("transformers", model, batch_size=2)
    requests = [Request((row.image,), VQ) for row in rows]
    texts = engine.generate(requests, Sampling(max_new_tokens=6))
    assert all(text.startswith(OPENING) == (family == "qwen3-vl-thinking") for text in texts)

    learnt = [SftExample((r.image,), VQ, "<think>So.</think><answer>2.00</answer>") for r in rows]
    shared = {"model": model, "gradient_checkpointing": False, "trl": {"max_steps": 1}}
    tuning = SftConfig(**shared, batch_size=2, micro_batch=2, warmup=0, parts="vision", lr=1e-2)
    tuned = train_sft(tuning, tmp_path / "sft", learnt)
    before, after = (load_teacher(str(each))[0] for each in (model, tuned))
    assert after.dtype == torch.bfloat16, "saved as it was asked for, not as it learnt"
    assert read_json(tuned / "config.json", "")["dtype"] == "bfloat16"
    moved = changed(before, after)
    assert moved and not any("language_model" in name or "text_model" in name for name in moved)

    manifest = str(rows[0].image.with_name("x.csv"))
    settings = GrpoConfig(
        **shared, tasks=[TaskConfig(manifests=[manifest])], epochs=1, prompts_per_step=2,
        num_generations=2, micro_batch=4, max_completion_length=6, dtype="float32",
    )  # fmt: skip
    assert (train(settings, tmp_path / "grpo") / "config.json").is_file()
    adapted = dataclasses.replace(settings, lora=LoraConfig(rank=2), vision=False)
    folder = train(adapted, tmp_path / "lora")
    assert (folder / "model.safetensors").is_file() and not any(
        "vision" in name or "visual" in name
        for name in changed(before, load_teacher(str(folder))[0])
    )


def changed(before, after) -> list[str]:
    others = after.state_dict()
    return [
        name
        for name, weights in before.state_dict().items()
        if not torch.equal(weights.to(others[name].dtype), others[name])
    ]


@pytest.mark.slow
def test_pixels_are_counted_in_the_tokens_of_the_family(tmp_path):
    model = qwen3_vl(tmp_path / "qwen3")
    assert model_shape(model).token == 32
    processor = load_processor(model, min_pixels=32 * 32, max_pixels=9 * 32 * 32)
    seen = processor.image_processor([Image.new("RGB", (300, 200))], return_tensors="pt")
    height, width = (16 * side for side in seen["image_grid_thw"][0, 1:].tolist())
    assert (
        (width, height) == bounded(300, 200, 0, 9 * 32 * 32, token_side("Qwen3-VL-8B")) == (96, 64)
    )
    with pytest.raises(InputError, match="resizes pictures in its own way"):
        load_processor(llava(tmp_path / "llava"), max_pixels=1000)


def test_settings_of_the_weights_are_refused_in_a_sentence():
    with pytest.raises(InputError, match="revision is for a model of the Hub, and nano is none"):
        teacher_place("nano", "main")
    if importlib.util.find_spec("bitsandbytes") is None:
        with pytest.raises(MissingExtraError, match=r"needs bitsandbytes.*'rali\[4bit\]'"):
            load_teacher("nano", quantization="4bit")
    with pytest.raises(InputError, match="quantization is '8bit'; give 4bit"):
        load_teacher("nano", quantization="8bit")
    with pytest.raises(InputError, match=r"cannot be loaded as a teacher"):
        load_teacher("nano", attn_implementation="no_such_attention")
    assert (
        load_teacher("nano", attn_implementation="eager")[0].config._attn_implementation == "eager"
    )


def test_a_folder_of_a_hub_repository_is_loaded_and_measured(tmp_path, monkeypatch):
    """Q-Insight's repository holds a folder for each of its two teachers, and no model itself."""
    snapshot = tmp_path / "models--ByteDance--Q-Insight" / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    (snapshot / "score_degradation").symlink_to(NANO)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("0a1b")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    name = "ByteDance/Q-Insight/score_degradation"
    model, _ = load_teacher(name)
    assert model.config.name_or_path == str(snapshot / "score_degradation"), "for the KL term too"
    assert model_shape(name) == model_shape("nano")
    with pytest.raises(InputError, match="has no comparison"):
        load_teacher("ByteDance/Q-Insight/comparison")
