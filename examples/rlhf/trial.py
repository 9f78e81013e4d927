"""What both trainings share: their options, and measures before and after."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from generator import SIZE, Generator
from measures import SEEDS, Measures, sheet, small, table
from pretrain import shrunk
from torch import Tensor

from rali.pictures.patterns import square
from rali.pictures.read import find_pictures, open_picture
from rali.rewards import RaliReward

Train = Callable[[argparse.Namespace, Generator, Measures], None]


def run(parser: argparse.ArgumentParser, train: Train, eta: float = 0.0) -> None:
    """Measure the pictures of fixed seeds, train, and measure pictures of the same seeds.

    Writes result.json, samples.png and the trained generator to the output folder; a training that
    is stopped leaves the generator.

    Args:
        eta: η of DDIM's sampling, as the training uses it.
    """
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    begin = time.perf_counter()
    generator = Generator(arguments.generator, arguments.prompt, arguments.device)
    measures = measures_of(arguments, generator.edge)
    seeds = SEEDS[: arguments.seeds]
    first = generator.sample(seeds, arguments.steps, eta)
    before = measures(first)
    print(before, flush=True)
    try:
        train(arguments, generator, measures)
    finally:
        generator.save(arguments.output / "generator")
    last = generator.sample(seeds, arguments.steps, eta)
    after = measures(last)
    sheet(first, last, arguments.output / "samples.png")
    result = {"before": before, "after": after, "seconds": time.perf_counter() - begin}
    result |= {"asked": {name: str(value) for name, value in vars(arguments).items()}}
    text = json.dumps(result, indent=1) + "\n"
    (arguments.output / "result.json").write_text(text, "utf-8")
    print(table(before, after))


def rounds(arguments: argparse.Namespace) -> Iterator[int]:
    """0, 1, …, until the updates or the minutes are used up."""
    end = time.perf_counter() + 60 * arguments.minutes
    for step in range(arguments.updates):
        if time.perf_counter() > end:
            return
        yield step


def arguments_of(description: str | None) -> argparse.ArgumentParser:
    """The options of both ways of training."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("generator", help="A folder of pretrain.py, or a Stable Diffusion.")
    parser.add_argument("--real", type=Path, required=True, help="Folder of good photographs.")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", default="builtin", help="Model of the reward.")
    parser.add_argument("--other", help="Another student, only to measure with.")
    parser.add_argument("--prompt", default="")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--updates", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=12, help="At most this many minutes.")
    parser.add_argument("--steps", type=int, default=20, help="Steps of sampling.")
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--no-guards", action="store_true")
    parser.add_argument("--seeds", type=int, default=64, help="Pictures measured before and after.")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def photographs_of(folder: Path, size: int) -> Tensor:
    """[n, 3, size, size], 0–1: crops as in `pretrain.py`, or whole where `size` is larger."""
    generator = np.random.default_rng(0)
    made = []
    for path in find_pictures([folder]):
        if size > SIZE:
            made.append(square(open_picture(path), size))
            continue
        rgb = shrunk(path)
        for _ in range(8):
            top, left = (int(generator.integers(edge - size + 1)) for edge in rgb.shape[:2])
            made.append(rgb[top : top + size, left : left + size])
    if len(made) < 4:
        raise SystemExit(f"{folder} holds too few photographs; expected 4 or more.")
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2) / 255


def measures_of(arguments: argparse.Namespace, size: int) -> Measures:
    """The reward with its guards, and the other measures, for pictures of `size` pixels."""
    real = photographs_of(arguments.real, size)
    student = small(arguments.model, size)
    reward = RaliReward(student, device=arguments.device)
    if not arguments.no_guards:
        with torch.no_grad():  # photographs of this size have other distances than at 512 pixels
            away = torch.cat(
                [reward.distance(part.to(reward.mean.device)) for part in real.split(32)]
            ).quantile(0.99)
        reward = RaliReward(student, device=arguments.device, caution=1.0, cutoff=away.item())
    other = None if arguments.other is None else small(arguments.other, size)
    return Measures(reward, other, real)
