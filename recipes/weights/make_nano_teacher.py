"""Make the nano teacher: Qwen2.5-VL at toy width, taught to see and then to speak.

    python recipes/weights/make_nano_teacher.py --data DIR -o runs/nano-teacher

DIR holds `pristine/` (Kodak's photographs are left out), `biq2021/` and `biq2021_more/` (only
pictures of the `train` split are read, and people's scores only to find the best 200). First the
vision tower learns what the built-in student sees (nano_teacher_eyes.py). Then the language model,
which begins as that of LANGUAGE, learns reference rationales under all prompts
(nano_teacher_lessons.py and nano_teacher_mouth.py). The result, `OUTPUT/weights`, is what
`teacher/nano_weights` holds. The same command resumes a stopped run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nano_teacher_eyes as eyes
import nano_teacher_mouth as mouth
import torch
from nano_teacher_eyes import MERGE, OUTPUT, PATCH, TOWER
from nano_teacher_lessons import MANY, Lessons
from nano_teacher_pictures import CELL, SIZE, degraded_pictures, held_out, look_at, regions_of
from tokenizers import pre_tokenizers
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from rali.runs.folder import RunFolder
from rali.runs.progress import StageProgress
from rali.teacher.models import flatten_patches, load_teacher
from rali.teacher.prompts import PROMPTS

LLM_DEPTH, VOCABULARY = 4, 1536
SHARPNESS = 0.75
SPECIAL = (
    "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
)  # fmt: skip
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def questions() -> list[str]:
    """The texts of all prompts."""
    messages = [turn for prompt in (*PROMPTS.values(), MANY) for turn in prompt.messages()]
    return [part["text"] for turn in messages for part in turn["content"] if "text" in part]


def tokenizer(texts: list[str]) -> Any:
    """Qwen's tokenizer with a vocabulary learned from the lessons and prompts."""
    return Qwen2Tokenizer(
        eos_token="<|im_end|>", pad_token="<|endoftext|>"
    ).train_new_from_iterator(
        texts,
        VOCABULARY,
        new_special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )


def look() -> dict[str, Any]:
    """How the processor cuts a picture into patches."""
    return {
        "patch_size": PATCH,
        "temporal_patch_size": 1,
        "merge_size": MERGE,
        "size": {"shortest_edge": CELL**2, "longest_edge": SIZE**2},
    }


def assemble(tokens: Any) -> tuple[Any, Any]:
    """The untrained model and its processor."""
    of = tokens.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": OUTPUT,
            "intermediate_size": 3 * OUTPUT,
            "num_hidden_layers": LLM_DEPTH,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6],
            },
            "bos_token_id": None,
            "eos_token_id": of("<|im_end|>"),
            "pad_token_id": of("<|endoftext|>"),
            "tie_word_embeddings": True,
            "initializer_range": 0.05,  # 0.02 is for greater widths
        },
        vision_config=TOWER,
        tie_word_embeddings=True,
        **{
            f"{name}_token_id": of(f"<|{token}|>")
            for name, token in (
                ("image", "image_pad"), ("video", "video_pad"),
                ("vision_start", "vision_start"), ("vision_end", "vision_end"),
            )
        },
    )  # fmt: skip
    model = Qwen2_5_VLForConditionalGeneration(config)
    flatten_patches(model)
    model.generation_config.eos_token_id = of("<|im_end|>")
    model.generation_config.pad_token_id = of("<|endoftext|>")
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**look()),
        tokenizer=tokens,
        video_processor=Qwen2VLVideoProcessor(**look()),
        chat_template=TEMPLATE,
    )
    return model, processor


def sharpen(model: Any) -> None:
    """Make sampling at temperature 1 draw what it drew at temperature `SHARPNESS`.

    A model this narrow gives its unlikely tokens too much probability in sum, so that texts end in
    the middle of a sentence.
    """
    with torch.no_grad():
        model.model.language_model.norm.weight /= SHARPNESS


def begin_as(model: Any, folder: str) -> None:
    """Start the language model as another nano teacher's, before that one was sharpened."""
    other = load_teacher(folder, dtype="float32")[0].model.language_model
    model.model.language_model.load_state_dict(other.state_dict())
    with torch.no_grad():
        model.model.language_model.norm.weight *= SHARPNESS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--language", default="nano", help="a nano teacher, or nothing for none")
    parser.add_argument("--part-steps", type=int, default=eyes.EyesConfig.part_steps)
    parser.add_argument("--whole-steps", type=int, default=eyes.EyesConfig.whole_steps)
    parser.add_argument("--lessons", type=int, default=36_000)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the photographs, for a trial"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    output, seed = arguments.output, arguments.seed
    run = RunFolder(output)
    with StageProgress() as progress:
        rows = degraded_pictures(
            arguments.data, output / "pictures", seed, progress, arguments.scale
        )
        seeing = SimpleNamespace(image_processor=Qwen2VLImageProcessor(**look()))
        looks = look_at(rows, output / "looks", seeing, progress)
        train, val = held_out(rows, seed)

        def on_step(step: int, steps: int, parts: dict[str, float]) -> None:
            run.log(stage="eyes", step=step, **parts)
            progress("eyes", step, steps, sum(v for k, v in parts.items() if k != "right"))

        config = eyes.EyesConfig(arguments.part_steps, whole_steps=arguments.whole_steps, seed=seed)
        tower = eyes.untrained(seed)
        heads = eyes.learn(tower, seeing, rows, looks, train, config, output, on_step)
        probed = eyes.probe(tower, seeing, heads, rows, looks, val)
        (output / "probe.json").write_text(json.dumps(probed, indent=1))
        print("A linear layer on photographs that were held out:", probed, flush=True)

        regions = regions_of(looks, output / "looks")
        lessons = Lessons(
            [rows[i] for i in train], [looks.measures[i] for i in train],
            [regions[i] for i in train], seed,
        ).draw(arguments.lessons)  # fmt: skip
        model, processor = assemble(
            load_teacher(arguments.language)[1].tokenizer
            if arguments.language
            else tokenizer(questions() * 50 + [e.completion for e in lessons[:20_000]])
        )
        model.model.visual.load_state_dict(tower.state_dict())
        if arguments.language:
            begin_as(model, arguments.language)
        count = sum(p.numel() for p in model.parameters())
        print(f"{count:,} parameters, {len(rows):,} pictures, {len(lessons):,} lessons", flush=True)
        drawn = {path for example in lessons for path in example.images}
        shown = [i for i in train if rows[i].image in drawn]
        seen = {
            rows[i].image: (part.half(), (1, *(looks.grid[i] * MERGE).tolist()))
            for i, part in zip(shown, eyes.seen(tower, seeing, looks, shown), strict=True)
        }
        encoded = mouth.encode(processor, lessons, {path: len(t) for path, (t, _) in seen.items()})

        def on_text(step: int, steps: int, loss: float) -> None:
            run.log(stage="sft", step=step, loss=loss)
            progress("sft", step, steps, loss)

        mouth.learn(model, encoded, seen, output, arguments.lr, seed, on_text)
    sharpen(model)
    weights = output / "weights"
    model.half().save_pretrained(weights)
    processor.save_pretrained(weights)
    print(f"weights: {weights}")


if __name__ == "__main__":
    main()
