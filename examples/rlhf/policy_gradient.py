"""Policy gradient: the reward is only a number for pictures that are sampled with noise.

    python examples/rlhf/policy_gradient.py runs/rlhf/generator --real PHOTOGRAPHS -o RUN \\
        --updates 40

DDPO's importance-sampled gradient (Black et al., 2024) with Flow-GRPO's advantages: the G pictures
of a group start from one noise and differ by the noise of DDIM's steps (η = 1); each is compared
with its group. A step x → x' has the log-probability

    log p(x' | x) = −|x' − μ_θ(x, t)|² / 2σ_t²,     and the loss is  −E[min(r A, clip(r, 1 ± ε) A)].

With --kl β, Flow-GRPO's β KL(π_θ ‖ π_ref) is added, where π_ref is the generator as it began.
"""

from __future__ import annotations

import argparse
import copy

import torch
from generator import Generator
from measures import Measures
from torch import Tensor
from trial import arguments_of, rounds, run

CLIP = 1e-4  # ε; log-probabilities are averaged over the latents' values: ratios stay near 1
GROUP, ETA = 8, 1.0


def log_normal(then: Tensor, mean: Tensor, deviation: float) -> Tensor:
    """log p(x' | x) up to a constant, as a mean over the latents' values: [n]."""
    return -(then - mean).square().flatten(1).mean(1) / (2 * deviation**2)


def divergence(mean: Tensor, anchor: Tensor, deviation: float) -> Tensor:
    """KL of two steps of one deviation, |μ_θ − μ_ref|² / 2σ_t², as a mean over the values: [n]."""
    return (mean - anchor).square().flatten(1).mean(1) / (2 * deviation**2)


def train(arguments: argparse.Namespace, generator: Generator, measures: Measures) -> None:
    optimizer = torch.optim.AdamW(generator.trained(), lr=arguments.rate, weight_decay=0.0)
    reference = copy.deepcopy(generator) if arguments.kl else None
    times, batch = generator.times(arguments.steps), arguments.batch
    for step in rounds(arguments):
        start = arguments.seed * 10_000_000 + step * arguments.groups
        noise = generator.noise(range(start, start + arguments.groups))
        latents = noise.repeat_interleave(GROUP, 0)
        path: list[tuple[int, int, Tensor, Tensor, Tensor]] = []
        with torch.no_grad():
            for t, after in times:
                mean, deviation = generator.step(latents, t, after, ETA)
                then = mean + deviation * torch.randn_like(mean)
                if deviation > 0:  # the last step has no noise
                    kept = log_normal(then, mean, deviation)
                    path.append((t, after, latents, then, kept))
                latents = then
            rewards = torch.cat(
                [measures.reward(generator.decode(part) / 2 + 0.5) for part in latents.split(batch)]
            )
        grouped = rewards.view(-1, GROUP)
        advantages = ((grouped - grouped.mean(1, keepdim=True)) / (grouped.std() + 1e-6)).flatten()
        for place in torch.randperm(len(path)).tolist()[: len(path) // 2]:
            t, after, now, then, kept = path[place]
            optimizer.zero_grad()
            for part in torch.arange(len(now), device=now.device).split(batch):
                mean, deviation = generator.step(now[part], t, after, ETA)
                likelihood = log_normal(then[part], mean, deviation)
                ratio = (likelihood - kept[part]).exp()
                clipped = ratio.clamp(1 - CLIP, 1 + CLIP)
                better = advantages[part]
                gain = torch.min(ratio * better, clipped * better).sum() / len(now)
                loss = -gain
                if reference is not None:
                    with torch.no_grad():
                        anchor, _ = reference.step(now[part], t, after, ETA)
                    away = divergence(mean, anchor, deviation).sum() / len(now)
                    loss = loss + arguments.kl * away
                loss.backward()
            torch.nn.utils.clip_grad_norm_(generator.trained(), 1.0)
            optimizer.step()
        print(f"round {step + 1}, reward {rewards.mean():.3f}", flush=True)


def main() -> None:
    parser = arguments_of(__doc__)
    parser.set_defaults(rate=1e-5)  # 1e-4 destroys the pictures in the first round
    parser.add_argument("--batch", type=int, default=32, help="Pictures per forward pass.")
    parser.add_argument("--groups", type=int, default=4, help="Groups of 8 pictures per round.")
    parser.add_argument(
        "--kl", type=float, default=0.0, help="β of the KL to the generator's start."
    )
    run(parser, train, ETA)


if __name__ == "__main__":
    main()
