"""Everything in this project that needs a GPU, in one command and at most eight minutes: gpu.md.

    python benchmarks/gpu.py           # one NVIDIA card of 80 GB
    python benchmarks/gpu.py --tiny    # small shapes, also on a processor; nothing is written
    python benchmarks/gpu.py --only grpo

It runs from a checkout, on a machine that has torch and transformers and no network. What else is
missing there travels as wheels beside the checkout. Where there is a network, with the machine's
Python version for 3.12:

    pip download --only-binary=:all: --no-deps --python-version 3.12 -d wheels \
        setuptools open_clip_torch timm ftfy wcwidth onnxruntime-gpu flatbuffers trl==1.16.0 peft \
        accelerate datasets pyarrow pandas python-dateutil dill multiprocess xxhash scipy \
        scikit-learn joblib threadpoolctl scikit-image lazy-loader imageio tifffile networkx

and on the machine, in the checkout (`make test-gpu` does the same, and runs this):

    pip install --no-index --no-deps wheels/*.whl
    pip install --no-index --no-deps --no-build-isolation -e .

Each part is a process of its own with a limit in seconds. A part that cannot load says why and is
skipped. Weights are random, which cost as much as trained ones, but for the built-in model's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
SKIPPED = 3  # the exit status of a part that cannot load
PICTURES = 64


def device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def meter() -> Any:
    from reward_cost import Meter

    return Meter(device())


# --- the parts: each prints rows of a Markdown table ----------------------------------------------


def student(tiny: bool) -> list[str]:
    """ViT-L/14-336 in bfloat16, with and without gradients."""
    from reward_cost import reward_costs

    rows, seconds, peak = reward_costs(tiny, device())
    return [*rows, f"beside {seconds} {peak}"]


def teacher(tiny: bool) -> list[str]:
    """16 rollouts of 100 tokens from a 7B Qwen2.5-VL."""
    from reward_cost import teacher_costs

    rows, seconds, peak = teacher_costs(tiny, device())
    return [*rows, f"beside {seconds} {peak}"]


def providers(tiny: bool) -> list[str]:
    """ONNX Runtime's providers on the built-in's file: pictures/s, and its scores on the CPU."""
    import numpy as np
    import onnxruntime

    from rali import InputError, Scorer
    from rali.pictures.read import open_picture
    from rali.pictures.samples import sample_files

    paths = sample_files()[: 2 if tiny else None]
    pictures = [open_picture(path) for path in paths] * (1 if tiny else -(-PICTURES // len(paths)))
    expected = Scorer(threads=1)(pictures)
    rows = []
    names = {"CUDAExecutionProvider": {}, "TensorrtExecutionProvider": {"trt_fp16_enable": False}}
    for name, options in {"CPUExecutionProvider": {}, **names}.items():
        if name not in onnxruntime.get_available_providers():
            rows.append(f"| ONNX Runtime, {name} | | | skipped: this onnxruntime has none |")
            continue
        try:
            scorer = Scorer(providers=[(name, options)], batch_size=8)
            scorer(pictures)
            began = time.perf_counter()
            found = scorer(pictures)
        except (InputError, RuntimeError) as error:
            rows.append(f"| ONNX Runtime, {name} | | | skipped: {one_line(error)} |")
            continue
        rate = len(pictures) / (time.perf_counter() - began)
        apart = float(np.abs(np.asarray(found) - np.asarray(expected)).max())
        rows.append(
            f"| ONNX Runtime, {name}, built-in, files decoded before | 8 | {rate:.3g} | at most "
            f"{apart:.1e} from the CPU's scores |"
        )
    return rows


def reward(tiny: bool) -> list[str]:
    """`RaliReward` on this device against `rali score` of the same picture as a file."""
    import numpy as np
    import torch

    from rali import Scorer
    from rali.pictures.read import open_picture
    from rali.pictures.samples import sample_files
    from rali.rewards import RaliReward

    paths = sample_files()[: 2 if tiny else None]
    scored = Scorer(threads=1)([str(path) for path in paths])
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        ours = RaliReward(device=device(), dtype=dtype)
        given = []
        for path in paths:
            pixels = torch.from_numpy(open_picture(path)).permute(2, 0, 1)[None].float() / 255
            pixels = pixels.to(device()).requires_grad_(True)
            score = ours(pixels)
            score.sum().backward()
            assert pixels.grad is not None and pixels.grad.isfinite().all()
            given.append(float(score.detach()))
        apart = float(np.abs(np.array(given) - np.asarray(scored)).max())
        rows.append(
            f"| `RaliReward`, {str(dtype).removeprefix('torch.')}, {device()} | {len(paths)} "
            f"pictures | | at most {apart:.1e} from the score of the file |"
        )
    return rows


def alignment(tiny: bool) -> list[str]:
    """Steps of the alignment at the default batch: from files to updated weights."""
    import torch
    from align_workers import write_pictures

    from rali.distill.align import AlignConfig, align
    from rali.distill.batches import PictureBatches
    from rali.student.encoders import load_encoder

    name = "timm/test_efficientnet" if tiny else "ViT-L-14-336-quickgelu"
    encoder = load_encoder(name, "random", text=False)
    batch = 8 if tiny else AlignConfig().batch_size
    config = AlignConfig(epochs=1, batch_size=batch, micro_batch=batch)
    texts = [torch.randn(2, encoder.dim) for _ in range(PICTURES)][: 8 if tiny else PICTURES]
    with tempfile.TemporaryDirectory() as folder:
        pictures = PictureBatches(write_pictures(Path(folder))[: len(texts)], encoder.preprocess)
        taken, peak = meter().measure(lambda: align(encoder.image, pictures, texts, config), 2)
    steps = config.plan(len(texts))[1]
    return [
        f"| alignment, {name}, {config.precision} | {batch} | {len(texts) / taken:.3g} | "
        f"{taken / steps:.3g} s a step, {peak:.1f} GiB at the peak |"
    ]


def grpo(tiny: bool) -> list[str]:
    """One LoRA step of GRPO: 16 completions, RL2R, gradients, AdamW."""
    import torch
    from reward_cost import teacher as random_teacher

    from rali.data.manifest import Row, write_manifest
    from rali.pictures.samples import sample_files
    from rali.teacher.adapter import LoraConfig
    from rali.teacher.grpo import GrpoConfig, build_trainer, ordered_examples
    from rali.teacher.models import load_processor
    from rali.teacher.tasks import TaskConfig

    class Random(GrpoConfig):
        """A teacher with random weights and the nano teacher's words."""

        def load(self) -> tuple[Any, Any]:
            from transformers import Qwen2VLImageProcessor

            model, _ = random_teacher(tiny, device())
            processor = load_processor("nano")
            size = {"shortest_edge": 56 * 56, "longest_edge": 336 * 336}
            processor.image_processor = Qwen2VLImageProcessor(size=size)
            processor.tokenizer.padding_side = "left"
            if tiny:  # the 7B's 152,064 words would be most of the time
                model.resize_token_embeddings(len(processor.tokenizer))
            words = processor.tokenizer.convert_tokens_to_ids
            model.config.image_token_id = words("<|image_pad|>")
            model.config.video_token_id = words("<|video_pad|>")
            model.config.vision_start_token_id = words("<|vision_start|>")
            model.config.vision_end_token_id = words("<|vision_end|>")
            return model, processor

    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "sample.csv"
        rows = [
            Row(path, score=1.0 + place % 4, dataset="sample", split="train")
            for place, path in enumerate(sample_files()[:4])
        ]
        write_manifest(rows, manifest)
        config = Random(
            tasks=[TaskConfig(manifests=[str(manifest)])], epochs=3, prompts_per_step=4,
            num_generations=4, micro_batch=4, max_completion_length=8 if tiny else 100,
            lora=LoraConfig(rank=4 if tiny else 64), lr=1e-5, dtype="bfloat16",
            gradient_checkpointing=not tiny, save_every=1000,
        )  # fmt: skip
        plan = config.plan()
        drawn = ordered_examples(config, plan)
        held = meter()
        trainer = build_trainer(config, plan, drawn, Path(folder) / "run", [])
        trainer.train()
        seconds = [row["step_time"] for row in trainer.state.log_history if "step_time" in row]
        peak = torch.cuda.max_memory_allocated() / 2**30 if held.cuda else float("nan")
    learns = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    whole = sum(p.numel() for p in trainer.model.parameters())
    return [
        f"| GRPO step, LoRA of {learns / 1e6:.3g} million beside {whole / 1e9:.2f} billion weights "
        f"| 4 × 4 | | {min(seconds):.3g} s a step, {peak:.1f} GiB at the peak |"
    ]


PARTS: dict[str, tuple[Callable[[bool], list[str]], int]] = {  # each with its limit in seconds
    "student": (student, 90),
    "teacher": (teacher, 110),
    "providers": (providers, 60),
    "reward": (reward, 40),
    "alignment": (alignment, 80),
    "grpo": (grpo, 100),
}


# --- running them ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a part printed, or why it did not: `reason` is a sentence."""

    rows: list[str]
    seconds: float
    reason: str = ""


def one_line(error: object, most: int = 200) -> str:
    """The end of an error without line breaks and table marks."""
    return " ".join(str(error).replace("|", "/").split())[-most:]


def run(name: str, tiny: bool, limit: float) -> Outcome:
    """One part in a process of its own, which is killed at its limit."""
    command = [sys.executable, __file__, "--part", name, *(["--tiny"] if tiny else [])]
    began = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return Outcome([], limit, f"it took more than {limit:g} seconds")
    seconds = time.monotonic() - began
    last = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode == 0 and last.startswith("["):
        return Outcome(json.loads(last), seconds)
    return Outcome([], seconds, one_line(done.stderr.strip() or f"exit {done.returncode}"))


def part(name: str, tiny: bool) -> int:
    """Run a part here; its rows are the last line of what it prints."""
    try:
        import torch

        torch.manual_seed(0)
        rows = PARTS[name][0](tiny)
    except ImportError as error:
        print(f"{name} needs {error.name or error}, which is not installed", file=sys.stderr)
        return SKIPPED
    print("\n" + json.dumps(rows))
    return 0


def page(outcomes: dict[str, Outcome], tiny: bool) -> str:
    """The report in Markdown."""
    import torch
    import transformers

    from rali.version import __version__

    machine = f"{platform.machine()}, {os.cpu_count()} cores, no GPU"
    if torch.cuda.is_available():
        machine = f"{torch.cuda.get_device_name()}, {torch.cuda.mem_get_info()[1] / 2**30:.0f} GiB"
    lines = [
        "# What needs a GPU",
        "",
        f"Command: `python benchmarks/gpu.py{' --tiny' * tiny}`. {machine}, torch "
        f"{torch.__version__}, transformers {transformers.__version__}, Python "
        f"{platform.python_version()}, rali {__version__}; random weights, seed 0.",
        "",
        "| what | batch | a second | seconds or difference | GiB at the peak |",
        "| --- | ---: | ---: | --- | ---: |",
    ]
    beside = {}
    for name, outcome in outcomes.items():
        for row in outcome.rows:
            if row.startswith("beside "):
                beside[name] = [float(word) for word in row.split()[1:]]
            else:
                lines.append(row + " |" * (6 - row.count("|")))
        if outcome.reason:
            lines.append(f"| {name} | | | skipped: {outcome.reason} | |")
    if {"student", "teacher"} <= beside.keys():
        (taken, peak), (seconds, held) = beside["student"], beside["teacher"]
        lines += [
            "",
            f"At batch 16 the student takes {100 * taken / seconds:.1f} % of the teacher's time "
            f"and {100 * peak / held:.1f} % of its memory; RALI's paper: 3.4 % and 14.7 %.",
        ]
    took = ", ".join(f"{name} {outcome.seconds:.0f}" for name, outcome in outcomes.items())
    lines += ["", f"Seconds of each part: {took}."]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="small shapes, nothing written")
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part; repeat")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.part:
        return part(given.part, given.tiny)
    if not given.tiny and device() != "cuda":
        print("torch sees no CUDA GPU here; --tiny tries the parts on a processor", file=sys.stderr)
        return 2
    outcomes = {}
    for name in given.only or PARTS:
        outcomes[name] = run(name, given.tiny, 600 if given.tiny else PARTS[name][1])
        print(f"{name}: {outcomes[name].reason or 'done'}", file=sys.stderr)
    report = page(outcomes, given.tiny)
    print(report)
    if not given.tiny and not given.only:
        Path(__file__).with_name("gpu.md").write_text(report, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
