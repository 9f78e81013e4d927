"""The reward on a GPU, beside a 7B reasoning teacher of random weights: gpu_reward.md.

    python benchmarks/gpu_reward.py            # on a machine with a GPU; --tiny tries it on any

Random weights cost what trained ones cost. The student is ViT-L/14-336 (`RaliReward` in bfloat16,
512-pixel pictures); the teacher has Qwen2.5-VL-7B's shape and answers 100 tokens for each of 16
pictures: a picture's 336-pixel tokens and 150 words of prompt, greedy, with transformers' own
`generate` and a static cache. RALI reports 3.4 % of the time and 14.7 % of the memory.
"""

from __future__ import annotations

import argparse
import gc
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from rali import Student, __version__
from rali.encoders import load_encoder
from rali.rewards import RaliReward
from rali.student import StudentConfig

BATCHES, TEACHER_BATCH, TOKENS, PROMPT = (1, 16, 64), 16, 100, 150


def student(name: str) -> Student:
    """With bases, all of them random."""
    encoder = load_encoder(name, "random", text=False)
    config = StudentConfig(
        encoder=encoder.spec,
        preprocess=encoder.preprocess.to_dict(),
        embed_dim=encoder.dim,
        pca_dim=min(512, 2 * encoder.dim // 3),
        bases=250,
    )
    made = Student(config, encoder.image)
    torch.nn.init.normal_(made.components, std=0.05)
    torch.nn.init.normal_(made.basis_vectors)
    torch.nn.init.uniform_(made.basis_scores, 1, 5)
    return made


def measure(work: Callable[[], Any], device: str, rounds: int) -> tuple[float, float]:
    """Seconds, the median, and GiB at the peak: weights, activations and whatever else."""
    work()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    found = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - begin)
    peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else float("nan")
    return sorted(found)[len(found) // 2], peak


def judged(reward: RaliReward, pictures: torch.Tensor, gradients: bool) -> None:
    given = pictures.detach().requires_grad_(gradients)
    with torch.set_grad_enabled(gradients):
        scores = reward(given)
        if gradients:
            scores.sum().backward()


def teacher(tiny: bool, device: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """Qwen2.5-VL in the 7B's shape, and one batch for it."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    config = Qwen2_5_VLConfig()
    if tiny:
        config.text_config.update(
            {"hidden_size": 256, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 2, "num_key_value_heads": 1}
        )  # fmt: skip
        config.vision_config.update(
            {"depth": 2, "hidden_size": 64, "intermediate_size": 64, "num_heads": 4,
             "out_hidden_size": 256, "fullatt_block_indexes": [1]}
        )  # fmt: skip
    else:  # what the released configuration says and the class's defaults do not
        config.text_config.update(
            {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
             "num_attention_heads": 28, "num_key_value_heads": 4}
        )  # fmt: skip
        config.vision_config.update({"hidden_size": 1280, "out_hidden_size": 3584})
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16)
        model = Qwen2_5_VLForConditionalGeneration(config).eval()
        torch.set_default_dtype(torch.float32)
    model.generation_config.pad_token_id = 0
    model.generation_config.eos_token_id = None
    patches = 24 * 24  # 336 pixels in patches of 14
    image = [config.vision_start_token_id, *[config.image_token_id] * (patches // 4)]
    words = torch.arange(PROMPT).remainder(1000).add(100).tolist()
    ids = torch.tensor([[*words[:10], *image, config.vision_end_token_id, *words[10:]]])
    kinds = (ids == config.image_token_id).int()
    shape = config.vision_config
    width = shape.in_channels * shape.temporal_patch_size * shape.patch_size**2
    given = {
        "input_ids": ids.repeat(TEACHER_BATCH, 1),
        "attention_mask": torch.ones(TEACHER_BATCH, ids.shape[1], dtype=torch.long),
        "mm_token_type_ids": kinds.repeat(TEACHER_BATCH, 1),
        "pixel_values": torch.randn(TEACHER_BATCH * patches, width).to(torch.bfloat16),
        "image_grid_thw": torch.tensor([[1, 24, 24]]).repeat(TEACHER_BATCH, 1),
    }
    return model, {name: value.to(device) for name, value in given.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="small shapes, nothing written")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not arguments.tiny:
        raise SystemExit("There is no GPU here. Try it with --tiny.")
    encoder = "nano" if arguments.tiny else "ViT-L-14-336-quickgelu"
    reward = RaliReward(student(encoder), device=device, dtype=torch.bfloat16)
    batches = (1, TEACHER_BATCH) if arguments.tiny else BATCHES
    lines, seconds, peak = [], float("nan"), float("nan")
    for gradients in (False, True):
        for batch in batches:
            pictures = torch.rand(batch, 3, 512, 512, device=device)
            taken, held = measure(partial(judged, reward, pictures, gradients), device, 5)
            if batch == TEACHER_BATCH and not gradients:
                seconds, peak = taken, held
            lines.append(
                f"| {encoder}, {'with' if gradients else 'without'} gradients | {batch} | "
                f"{batch / taken:.1f} | {taken:.4f} | {held:.2f} |"
            )
    del reward, pictures
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    model, given = teacher(arguments.tiny, device)
    parameters = sum(each.numel() for each in model.parameters()) / 1e9
    assert arguments.tiny or 8.2 < parameters < 8.4, parameters  # the released one has 8.29

    def answer() -> None:
        with torch.inference_mode():
            made = model.generate(
                **given, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False,
                cache_implementation="static",
            )  # fmt: skip
        assert made.shape[1] == given["input_ids"].shape[1] + TOKENS

    taken, held = measure(answer, device, 3)
    lines.append(
        f"| teacher, {parameters:.2f} billion weights, {TOKENS} tokens | {TEACHER_BATCH} | "
        f"{TEACHER_BATCH / taken:.1f} | {taken:.4f} | {held:.2f} |"
    )
    name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    report = (
        "# The reward on a GPU\n\n"
        f"Command: `python benchmarks/gpu_reward.py`. {name}, torch {torch.__version__}, "
        f"transformers {transformers.__version__} (which generates, static cache), rali "
        f"{__version__}; random weights, bfloat16.\n\n"
        "| | batch | pictures/s | seconds | GiB at the peak |\n"
        "| --- | ---: | ---: | ---: | ---: |\n" + "\n".join(lines) + "\n\n"
        f"At batch {TEACHER_BATCH} the reward takes {seconds / taken:.2%} of the teacher's time "
        f"and {peak / held:.2%} of its memory; the paper: 3.4 % and 14.7 %.\n"
    )
    print(report)
    if not arguments.tiny:
        (Path(__file__).parent / "gpu_reward.md").write_text(report, "utf-8")


if __name__ == "__main__":
    main()
