"""Tiny vision-language models with random weights, beside the nano teacher's tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rali.teacher.models import NANO

# As Qwen3-VL's template; IMAGE and THINK are filled in.
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\nTHINK{% endif %}"
)
TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 1536, "pad_token_id": 0,
    "eos_token_id": 1, "bos_token_id": None, "tie_word_embeddings": True,
}  # fmt: skip


def qwen3_vl(folder: Path, *, thinking: bool = False) -> str:
    """A Qwen3-VL with 32-pixel tokens; with `thinking` its template opens `<think>` itself."""
    from transformers import (
        AutoConfig,
        AutoTokenizer,
        Qwen2VLImageProcessor,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    size = {"shortest_edge": 4 * 32**2, "longest_edge": 16 * 32**2}
    look = {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2, "size": size}
    template = TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**look),
        tokenizer=AutoTokenizer.from_pretrained(NANO),
        video_processor=Qwen3VLVideoProcessor(**look),
        chat_template=template.replace("THINK", "<think>\n" if thinking else ""),
    )
    config = AutoConfig.for_model(
        "qwen3_vl",
        text_config=TEXT
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4,
                               "mrope_section": [2, 3, 3], "mrope_interleaved": True}},
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2,
            "out_hidden_size": 32, "patch_size": 16, "deepstack_visual_indexes": [0],
            "num_position_embeddings": 64,
        },
        image_token_id=5, video_token_id=6, vision_start_token_id=3, vision_end_token_id=4,
        tie_word_embeddings=True,
    )  # fmt: skip
    return save(folder, config, processor)


def llava(folder: Path) -> str:
    """A LLaVA: pictures of one size, a vision tower with a projector beside it."""
    from transformers import AutoConfig, CLIPImageProcessor, LlavaProcessor

    side = {"height": 32, "width": 32}
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=side),
        tokenizer=words("<image>"),
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("IMAGE", "<image>").replace("THINK", ""),
    )
    place = processor.tokenizer.convert_tokens_to_ids("<image>")
    config = AutoConfig.for_model(
        "llava",
        text_config=TEXT | {"model_type": "llama", "vocab_size": 1537},
        vision_config={
            "model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
            "projection_dim": 32,
        },
        image_token_index=place, image_seq_length=16, vision_feature_layer=-1,
        tie_word_embeddings=True,
    )  # fmt: skip
    return save(folder, config, processor)


def idefics3(folder: Path) -> str:
    """An Idefics3, of which SmolVLM is a kind: pictures in tiles, with masks."""
    from transformers import AutoConfig, Idefics3ImageProcessor, Idefics3Processor

    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessor(
            size={"longest_edge": 64}, max_image_size={"longest_edge": 32}
        ),
        tokenizer=words("<image>", "<fake_token_around_image>", "<global-img>"),
        image_seq_len=4,
        chat_template=TEMPLATE.replace("IMAGE", "<image>").replace("THINK", ""),
    )
    count = len(processor.tokenizer)
    config = AutoConfig.for_model(
        "idefics3",
        text_config=TEXT | {"model_type": "llama", "vocab_size": count},
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
        },
        image_token_id=processor.tokenizer.convert_tokens_to_ids("<image>"), scale_factor=2,
        pad_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip
    return save(folder, config, processor)


def words(*more: str) -> Any:
    """The nano teacher's tokenizer with more special tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(NANO)
    tokenizer.add_special_tokens({"additional_special_tokens": list(more)})
    return tokenizer


def save(folder: Path, config: Any, processor: Any) -> str:
    """Save a model of this config with random weights, and its processor."""
    from transformers import AutoModelForImageTextToText, GenerationConfig

    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    model.generation_config = GenerationConfig(eos_token_id=1, pad_token_id=0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)
