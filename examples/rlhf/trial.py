"""What both trainings share: what they are asked, and what is measured before and after."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from generator import SIZE, Generator
from judging import SEEDS, Judges, sheet, small, table
from pretrain import shrunk
from torch import Tensor

from rali.pictures.patterns import square
from rali.pictures.read import find_pictures, open_picture
from rali.rewards import RaliReward

Train = Callable[[argparse.Namespace, Generator, Judges], None]


def run(parser: argparse.ArgumentParser, train: Train, eta: float = 0.0) -> None:
    """Judge the pictures of fixed seeds, train, and judge those of the same seeds.

    `eta` is that of the sampling which is trained, and so of what is judged.

    Writes result.json, samples.png and the trained generator to the output; a training that is
    stopped leaves the last of them.
    """
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    begin = time.perf_counter()
    generator = Generator(arguments.generator, arguments.prompt, arguments.device)
    judges = judges_of(arguments, generator.edge)
    seeds = SEEDS[: arguments.seeds]
    first = generator.sample(seeds, arguments.steps, eta)
    before = judges(first)
    print(before, flush=True)
    try:
        train(arguments, generator, judges)
    finally:
        generator.save(arguments.output / "generator")
    last = generator.sample(seeds, arguments.steps, eta)
    after = judges(last)
    sheet(first, last, arguments.output / "samples.png")
    told = {"before": before, "after": after, "seconds": time.perf_counter() - begin}
    told |= {"asked": {name: str(value) for name, value in vars(arguments).items()}}
    text = json.dumps(told, indent=1) + "\n"
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
    """What both ways of training are asked."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("generator", help="folder of pretrain.py, or a Stable Diffusion")
    parser.add_argument("--real", type=Path, required=True, help="folder of good photographs")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", default="builtin", help="of the reward")
    parser.add_argument("--other", help="a student that has no part in the training")
    parser.add_argument("--prompt", default="")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--updates", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=12, help="at most")
    parser.add_argument("--steps", type=int, default=20, help="of sampling")
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--no-guards", action="store_true")
    parser.add_argument("--seeds", type=int, default=64, help="judged before and after")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def photographs_of(folder: Path, size: int) -> Tensor:
    """[n, 3, size, size], 0–1: crops as `pretrain.py` takes them; larger ones are whole."""
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
        raise SystemExit(f"{folder} holds {len(made)} pictures; expected good ones, 4 or more.")
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2) / 255


def judges_of(arguments: argparse.Namespace, size: int) -> Judges:
    """The reward, with its guards, and the measures beside it, of pictures of `size` pixels."""
    real = photographs_of(arguments.real, size)
    student = small(arguments.model, size)
    reward = RaliReward(student, device=arguments.device)
    if not arguments.no_guards:
        with torch.no_grad():  # at this size photographs are elsewhere than at 512 pixels
            away = torch.cat(
                [reward.distance(part.to(reward.mean.device)) for part in real.split(32)]
            ).quantile(0.99)
        reward = RaliReward(student, device=arguments.device, caution=1.0, cutoff=away.item())
    other = None if arguments.other is None else small(arguments.other, size)
    return Judges(reward, other, real)
