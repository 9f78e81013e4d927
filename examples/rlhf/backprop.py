"""Direct reward backpropagation: the generator's last steps are trained through the reward.

    python examples/rlhf/backprop.py runs/rlhf/generator --real PHOTOGRAPHS -o runs/rlhf/backprop

DRaFT-K (Clark et al., 2024; AlignProp is its kin): pictures are sampled from noise, all steps but
the last K without gradients, and θ climbs E[reward]. `--no-guards` leaves out caution, cut-off and
the pull towards the generator as it was, to see what a generator then finds.

With a Stable Diffusion's folder or hub id in place of the small generator it trains LoRA weights,
on a GPU: `--device cuda --prompt "a photograph of a street" --steps 50 --batch 4`.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import torch
from generator import SIZE, Generator
from judging import SEEDS, Judges, sheet, small, table, write
from pretrain import shrunk
from torch import Tensor

from rali.pictures import find_pictures, open_picture
from rali.probe import square
from rali.rewards import RaliReward


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
    parser.add_argument("--batch", type=int, default=8)
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


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--last", type=int, default=2, help="K, steps that gradients go through")
    parser.add_argument("--pull", type=float, default=1.0, help="towards the generator as it was")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    generator = Generator(arguments.generator, arguments.prompt, arguments.device)
    judges = judges_of(arguments, generator.edge)
    seeds = SEEDS[: arguments.seeds]
    first = generator.sample(seeds, arguments.steps)
    before = judges(first)
    print(before, flush=True)
    origin = copy.deepcopy(generator).requires_grad_(False)
    optimizer = torch.optim.AdamW(generator.trained(), lr=arguments.rate, weight_decay=0.0)
    begin, step = time.perf_counter(), 0
    times = generator.times(arguments.steps)
    while step < arguments.updates and time.perf_counter() - begin < 60 * arguments.minutes:
        start = arguments.seed * 10_000_000 + step * arguments.batch
        latents = generator.noise(range(start, start + arguments.batch))
        with torch.no_grad():
            for t, after in times[: -arguments.last]:
                latents, _ = generator.step(latents, t, after)
        pull = latents.new_zeros(())
        for t, after in times[-arguments.last :]:
            was, _ = origin.step(latents, t, after)  # its weights are frozen
            latents, _ = generator.step(latents, t, after)
            pull = pull + (latents - was).square().mean()
        rewards = judges.reward(generator.decode(latents) / 2 + 0.5)
        weight = 0.0 if arguments.no_guards else arguments.pull
        optimizer.zero_grad()
        (weight * pull - rewards.mean()).backward()
        torch.nn.utils.clip_grad_norm_(generator.trained(), 1.0)
        optimizer.step()
        step += 1
        if step % 10 == 0:
            print(f"step {step}, reward {rewards.mean():.3f}, pull {pull:.4f}", flush=True)
    last = generator.sample(seeds, arguments.steps)
    after_ = judges(last)
    sheet(first, last, arguments.output / "samples.png")
    write(
        arguments.output,
        {"before": before, "after": after_, "steps": step, **vars(arguments) | {
            "output": str(arguments.output), "real": str(arguments.real),
        }},
    )  # fmt: skip
    print(table(before, after_))


if __name__ == "__main__":
    main()
