"""Train the small generator on 64-pixel crops of photographs, a share of them degraded.

    python examples/rlhf/pretrain.py PHOTOGRAPHS -o runs/rlhf/generator --minutes 15

The loss is on velocities (Salimans & Ho, 2022), for crops of photographs shrunk to 512 pixels. Half
of the crops are blurred, noisy, compressed or dull, so that the generator's pictures can improve.
The same command resumes a training that was stopped.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from generator import BLOCK, SIZE
from PIL import Image
from torch.nn import functional

from rali.pictures.degrade import degrade
from rali.pictures.read import find_pictures, open_picture

SHORT, BATCH, RATE = 512, 32, 1e-3
DEGRADED, KINDS = 0.5, ("blur", "noise", "compression", "contrast weaken", "pixelate")


def unet() -> UNet2DModel:
    """The generator: 2 million weights."""
    return UNet2DModel(
        sample_size=SIZE // BLOCK,
        in_channels=3 * BLOCK**2,
        out_channels=3 * BLOCK**2,
        block_out_channels=(48, 72, 96),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    )


def crops(photographs: list[np.ndarray], count: int, generator: np.random.Generator) -> np.ndarray:
    """Random crops, a share of them degraded: uint8 [count, SIZE, SIZE, 3]."""
    made = []
    for _ in range(count):
        rgb = photographs[generator.integers(len(photographs))]
        top = generator.integers(rgb.shape[0] - SIZE + 1)
        left = generator.integers(rgb.shape[1] - SIZE + 1)
        crop = np.ascontiguousarray(rgb[top : top + SIZE, left : left + SIZE])
        if generator.random() < DEGRADED:
            kind = KINDS[generator.integers(len(KINDS))]
            crop = degrade(
                crop, kind, int(generator.integers(2, 5)), int(generator.integers(2**31))
            )
        made.append(crop[:, ::-1] if generator.random() < 0.5 else crop)
    return np.stack(made)


def shrunk(path: Path) -> np.ndarray:
    """The photograph with a shorter edge of SHORT pixels, the size that nano was trained on."""
    image = Image.fromarray(open_picture(path))
    scale = SHORT / min(image.size)
    size = tuple(max(SHORT, round(edge * scale)) for edge in image.size)
    return np.asarray(image.resize(size, Image.Resampling.BICUBIC))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    photographs = [shrunk(path) for path in find_pictures(arguments.photographs)]
    model = unet()
    schedule = DDIMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", clip_sample=True
    )
    average = EMAModel(model.parameters(), decay=0.999, use_ema_warmup=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-4)
    step, spent = 0, 0.0
    checkpoint = arguments.output / "checkpoint.pt"
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step, spent = state["step"], state["spent"]
    arguments.output.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        state = {
            "model": model.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "spent": spent,
        }
        torch.save(state, checkpoint.with_suffix(".tmp"))
        checkpoint.with_suffix(".tmp").replace(checkpoint)
        average.store(model.parameters())
        average.copy_to(model.parameters())
        model.save_pretrained(arguments.output)
        average.restore(model.parameters())
        schedule.save_pretrained(arguments.output)

    losses: list[float] = []
    while spent < 60 * arguments.minutes:
        begin = time.perf_counter()
        chosen = crops(photographs, BATCH, np.random.default_rng((arguments.seed, step)))
        clean = torch.from_numpy(chosen).permute(0, 3, 1, 2).float() / 127.5 - 1
        clean = functional.pixel_unshuffle(clean, BLOCK)
        noise, times = torch.randn_like(clean), torch.randint(1000, (BATCH,))
        with torch.autocast("cpu", torch.bfloat16):
            predicted = model(schedule.add_noise(clean, noise, times), times).sample
        loss = functional.mse_loss(predicted.float(), schedule.get_velocity(clean, noise, times))
        left = 1 - spent / (60 * arguments.minutes)
        optimizer.param_groups[0]["lr"] = RATE * min(left, (step + 1) / 100)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.step(model.parameters())
        losses.append(loss.item())
        step, spent = step + 1, spent + time.perf_counter() - begin
        if step % 50 == 0:
            print(
                f"step {step}, {spent / 60:.1f} min, loss {np.mean(losses[-50:]):.4f}", flush=True
            )
            save()
    save()


if __name__ == "__main__":
    main()
