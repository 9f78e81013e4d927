"""What the reward costs beside a 7B reasoning teacher: reward_cost_cuda.md, reward_cost_cpu.md.

    python benchmarks/reward_cost.py        # on a GPU, else on Linux with 24 GB (15 minutes)
    python benchmarks/reward_cost.py --tiny # small shapes, in seconds; nothing is written

Random weights cost as much as trained ones. The student is ViT-L/14-336 (`RaliReward` in bfloat16,
512-pixel pictures); the teacher has Qwen2.5-VL-7B's shape and answers 100 tokens for each of 16
pictures: a picture's 336-pixel tokens and 150 words of prompt, greedy, with transformers' own
`generate` and a static cache. RALI reports 3.4 % of the time and 14.7 % of the memory.
"""

from __future__ import annotations

import argparse
import ctypes
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import transformers

from rali import Student
from rali.rewards import RaliReward
from rali.scoring.speed import memory, peak_memory
from rali.student.encoders import load_encoder
from rali.student.student import StudentConfig
from rali.version import __version__

PROMPT = 150  # words
TEACHER_ROUNDS = {"cuda": 3, "cpu": 1}


@dataclass(frozen=True)
class Work:
    """What is measured.

    Attributes:
        batch: the teacher's pictures. tokens: of each answer. rounds: of the reward.
    """

    batch: int = 16
    tokens: int = 100
    rounds: int = 5


def work_of(tiny: bool) -> Work:
    return Work(batch=4, tokens=8, rounds=1) if tiny else Work()


def student(name: str) -> Student:
    """A student with random weights and bases."""
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


class Meter:
    """Time and memory of the work since it was created."""

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"
        self.before = 0.0 if self.cuda else memory()

    def measure(self, work: Callable[[], Any], rounds: int) -> tuple[float, float]:
        """Median seconds, and GiB at the peak: weights, activations and everything else."""
        work()
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        else:
            ctypes.CDLL(None).malloc_trim(0)  # what is free is not held
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
        found = []
        for _ in range(rounds):
            begin = time.perf_counter()
            work()
            if self.cuda:
                torch.cuda.synchronize()
            found.append(time.perf_counter() - begin)
        peak = torch.cuda.max_memory_allocated() / 2**20 if self.cuda else peak_memory()
        return sorted(found)[len(found) // 2], (peak - self.before) / 2**10


def run_reward(reward: RaliReward, pictures: torch.Tensor, gradients: bool) -> None:
    given = pictures.detach().requires_grad_(gradients)
    with torch.set_grad_enabled(gradients):
        scores = reward(given)
        if gradients:
            scores.sum().backward()


def teacher(tiny: bool, device: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """Qwen2.5-VL in the shape of the 7B, and one batch for it."""
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
    else:  # from the released configuration; the class's defaults differ
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
    batch, patches = work_of(tiny).batch, 24 * 24  # 336 pixels in patches of 14
    image = [config.vision_start_token_id, *[config.image_token_id] * (patches // 4)]
    words = torch.arange(PROMPT).remainder(1000).add(100).tolist()
    ids = torch.tensor([[*words[:10], *image, config.vision_end_token_id, *words[10:]]])
    kinds = (ids == config.image_token_id).int()
    shape = config.vision_config
    width = shape.in_channels * shape.temporal_patch_size * shape.patch_size**2
    given = {
        "input_ids": ids.repeat(batch, 1),
        "attention_mask": torch.ones(batch, ids.shape[1], dtype=torch.long),
        "mm_token_type_ids": kinds.repeat(batch, 1),
        "pixel_values": torch.randn(batch * patches, width).to(torch.bfloat16),
        "image_grid_thw": torch.tensor([[1, 24, 24]]).repeat(batch, 1),
    }
    return model, {name: value.to(device) for name, value in given.items()}


def reward_costs(tiny: bool, device: str) -> tuple[list[str], float, float]:
    """Rows of the table, and seconds and GiB for a batch as large as the teacher's."""
    meter, work = Meter(device), work_of(tiny)
    encoder = "nano" if tiny else "ViT-L-14-336-quickgelu"
    reward = RaliReward(student(encoder), device=device, dtype=torch.bfloat16)
    batches = (1, work.batch, 64) if device == "cuda" else (1, work.batch)
    rows, beside = [], (float("nan"), float("nan"))
    for gradients in (False, True):
        # With gradients, a batch of 16 takes minutes on a CPU.
        for batch in batches[:1] if gradients and device == "cpu" else batches:
            pictures = torch.rand(batch, 3, 512, 512, device=device)
            taken, held = meter.measure(
                partial(run_reward, reward, pictures, gradients), work.rounds
            )
            if batch == work.batch and not gradients:
                beside = (taken, held)
            rows.append(
                f"| {encoder}, {'with' if gradients else 'without'} gradients | {batch} | "
                f"{batch / taken:.3g} | {taken:.3g} | {held:.2f} |"
            )
    return rows, *beside


def teacher_costs(tiny: bool, device: str) -> tuple[list[str], float, float]:
    """The same for the teacher."""
    meter, work = Meter(device), work_of(tiny)
    model, given = teacher(tiny, device)
    parameters = sum(each.numel() for each in model.parameters()) / 1e9
    assert tiny or 8.2 < parameters < 8.4, parameters  # the released one has 8.29

    def answer() -> None:
        with torch.inference_mode():
            made = model.generate(
                **given, max_new_tokens=work.tokens, min_new_tokens=work.tokens, do_sample=False,
                cache_implementation="static",
            )  # fmt: skip
        assert made.shape[1] == given["input_ids"].shape[1] + work.tokens

    taken, held = meter.measure(answer, TEACHER_ROUNDS[device])
    row = (
        f"| teacher, {parameters:.2f} billion weights, {work.tokens} tokens | {work.batch} | "
        f"{work.batch / taken:.3g} | {taken:.3g} | {held:.2f} |"
    )
    return [row], taken, held


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="small shapes, nothing written")
    tiny = parser.parse_args().tiny
    work, device = work_of(tiny), "cuda" if torch.cuda.is_available() else "cpu"
    # A process each, else the memory of one would count as the other's.
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as processes:
        ours = processes.submit(reward_costs, tiny, device)
        theirs = processes.submit(teacher_costs, tiny, device)
        (rows, seconds, peak), (more, taken, held) = ours.result(), theirs.result()
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads, no GPU"
    if device == "cuda":
        machine = torch.cuda.get_device_name()
    report = (
        "# What the reward costs beside a 7B reasoning teacher\n\n"
        f"Command: `python benchmarks/reward_cost.py`. {machine}, torch {torch.__version__}, "
        f"transformers {transformers.__version__} (`generate`, static cache), rali "
        f"{__version__}; random weights, bfloat16. After one run to warm up, medians of "
        f"{work.rounds} runs, for the teacher of {TEACHER_ROUNDS[device]}.\n\n"
        "| | batch | pictures/s | seconds | GiB at the peak |\n"
        "| --- | ---: | ---: | ---: | ---: |\n" + "\n".join([*rows, *more]) + "\n\n"
        f"At batch {work.batch} the reward takes {100 * seconds / taken:.1f} % of the teacher's "
        f"time and {100 * peak / held:.1f} % of its memory; the paper: 3.4 % and 14.7 %.\n"
    )
    print(report)
    if not tiny:
        (Path(__file__).parent / f"reward_cost_{device}.md").write_text(report, "utf-8")


if __name__ == "__main__":
    main()
