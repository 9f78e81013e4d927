"""Direct reward backpropagation: gradients of the reward train the generator's last steps.

    python examples/rlhf/backprop.py runs/rlhf/generator --real PHOTOGRAPHS \\
        -o runs/rlhf/backprop --updates 150

DRaFT-K (Clark et al., 2024; AlignProp is similar): pictures are sampled from noise, all steps but
the last K without gradients, and θ climbs E[reward]. `--no-guards` leaves out caution, cutoff and
the pull towards the original generator, to show what a generator finds without them.

Given the folder or Hub id of a Stable Diffusion instead of the small generator, it trains LoRA
weights, on a GPU: `--device cuda --prompt "a photograph of a street" --steps 50 --batch 4`.
"""

from __future__ import annotations

import argparse
import copy

import torch
from generator import Generator
from measures import Measures
from trial import arguments_of, rounds, run


def train(arguments: argparse.Namespace, generator: Generator, measures: Measures) -> None:
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
            original, _ = origin.step(latents, t, after)  # its weights are frozen
            latents, _ = generator.step(latents, t, after)
            pull = pull + (latents - original).square().mean()
        rewards = measures.reward(generator.decode(latents) / 2 + 0.5)
        optimizer.zero_grad()
        (weight * pull - rewards.mean()).backward()
        torch.nn.utils.clip_grad_norm_(generator.trained(), 1.0)
        optimizer.step()
        if step % 10 == 0:
            print(f"step {step}, reward {rewards.mean():.3f}, pull {pull:.4f}", flush=True)


def main() -> None:
    parser = arguments_of(__doc__)
    parser.add_argument("--batch", type=int, default=8, help="Pictures per update.")
    parser.add_argument("--last", type=int, default=2, help="K, steps that gradients pass.")
    parser.add_argument(
        "--pull", type=float, default=1500.0, help="Weight of the mean squared distance from the "
        "original generator's latents.",
    )  # fmt: skip
    run(parser, train)


if __name__ == "__main__":
    main()
