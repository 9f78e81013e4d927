"""What should nano look at? Image towers from scratch at equal CPU time, judged on `val`.

    python benchmarks/nano_architectures.py --data DIR [--seconds 200] [--only thin ...]

Plain regression on BIQ2021's train split (squared error plus one minus the correlation), one
thread, the same CPU seconds for each; SRCC and PLCC on `val`, in all and per subset. `test` is
not read. Results and what was chosen: benchmarks/nano.md.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from rali.encoders import nano_preprocess
from rali.images import PictureBatches, embed
from rali.importers import biq2021
from rali.metrics import plcc, srcc
from rali.nano import NanoConfig, NanoImageEncoder

WIDE, THIN = (24, 48, 96, 160), (16, 32, 64, 128)
WHOLE, CROPS = ("whole", 4), ("crops", 3, 64)
TOWERS: dict[str, dict[str, Any]] = {
    "resized to 256": {"widths": WIDE, "views": (("whole", 2),)},
    "resized to 128": {"widths": WIDE, "views": (WHOLE,)},
    "128 + 3×3 native crops": {"widths": WIDE, "views": (WHOLE, CROPS)},
    "thin: 128 + 3×3 native crops": {"widths": THIN, "views": (WHOLE, CROPS)},
    "thin: 128 + 4×4 native crops": {"widths": THIN, "views": (WHOLE, ("crops", 4, 64))},
    "thin: 128 + 2×2 crops of 128": {"widths": THIN, "views": (WHOLE, ("crops", 2, 128))},
    "thin: 256 + 3×3 native crops": {"widths": THIN, "views": (("whole", 2), CROPS)},
    "thin, means only": {"widths": THIN, "views": (WHOLE, CROPS), "statistics": False},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=200)
    parser.add_argument("--only", nargs="*", default=list(TOWERS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = biq2021.read(arguments.data / "biq2021", by_subset=True)
    parts = {split: [row for row in rows if row.split == split] for split in ("train", "val")}
    target = torch.tensor([row.score for row in parts["train"]])
    truth = np.array([row.score for row in parts["val"]])
    subset = np.array([row.dataset for row in parts["val"]])
    print("| tower | steps | SRCC | PLCC | SRCC ss01 | SRCC ss03 |\n|" + " --- |" * 6)
    for name in arguments.only:
        torch.manual_seed(0)
        config = NanoConfig(**TOWERS[name])
        model = nn.Sequential(NanoImageEncoder(config), nn.Linear(config.embed_dim, 1))
        model.to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
        train, val = (
            PictureBatches([row.image for row in parts[split]], nano_preprocess(config))
            for split in ("train", "val")
        )
        draw, steps, started = np.random.default_rng(0), 0, time.process_time()
        while (passed := (time.process_time() - started) / arguments.seconds) < 1:
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * min(1, steps / 30) * (0.5 + 0.5 * np.cos(np.pi * passed))
            chosen = draw.choice(len(train), 32, replace=False)
            predicted = model.train()(train.pixels(chosen, flip=draw.random() < 0.5))[:, 0] + 3.2
            wanted = target[torch.from_numpy(chosen)].float()
            correlation = torch.corrcoef(torch.stack([predicted, wanted]))[0, 1]
            loss = F.mse_loss(predicted, wanted) + 1 - correlation
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
        scores = embed(model, val)[:, 0]
        one = [srcc(scores[subset == f"biq2021-{s}"], truth[subset == f"biq2021-{s}"])
               for s in ("ss01", "ss03")]  # fmt: skip
        numbers = [srcc(scores, truth), plcc(scores, truth), *one]
        print(f"| {name} | {steps} | " + " | ".join(f"{n:.3f}" for n in numbers) + " |", flush=True)


if __name__ == "__main__":
    main()
