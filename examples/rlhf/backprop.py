"""Direct reward backpropagation: the generator's last steps are trained through the reward.

    python examples/rlhf/backprop.py runs/rlhf/generator --real PHOTOGRAPHS \\
        -o runs/rlhf/backprop --updates 150

DRaFT-K (Clark et al., 2024; AlignProp is its kin): pictures are sampled from noise, all steps but
the last K without gradients, and θ climbs E[reward]. `--no-guards` leaves out caution, cut-off and
the pull towards the generator as it was, to see what a generator then finds.

With a Stable Diffusion's folder or hub id in place of the small generator it trains LoRA weights,
on a GPU: `--device cuda --prompt "a photograph of a street" --steps 50 --batch 4`.
"""

from __future__ import annotations

import argparse
import copy

import torch
from generator import Generator
from judging import Judges
from trial import arguments_of, rounds, run


def train(arguments: argparse.Namespace, generator: Generator, judges: Judges) -> None:
    origin = copy.deepcopy(generator).requires_grad_(False)
    optimizer = torch.optim.AdamW(generator.trained(), lr=arguments.rate, weight_decay=0.0)
    weight = 0.0 if arguments.no_guards else arguments.pull
    times = generator.times(arguments.steps)
    for step in rounds(arguments):
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
        optimizer.zero_grad()
        (weight * pull - rewards.mean()).backward()
        torch.nn.utils.clip_grad_norm_(generator.trained(), 1.0)
        optimizer.step()
        if step % 10 == 0:
            print(f"step {step}, reward {rewards.mean():.3f}, pull {pull:.4f}", flush=True)


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--batch", type=int, default=8, help="pictures per update")
    parser.add_argument("--last", type=int, default=2, help="K, steps that gradients go through")
    parser.add_argument(
        "--pull", type=float, default=1500.0, help="towards the generator as it was: per squared "
        "difference of a latent",
    )  # fmt: skip
    run(parser, train)


if __name__ == "__main__":
    main()
