"""`RaliReward` beside the file path, and a batch beside single pictures: rewards.md.

    python benchmarks/rewards.py --photographs DIR

200 pictures of many shapes are cut from the photographs, seed 0. A file's score is that of
`Student.score`, along Pillow's path. Speeds are for 512-pixel pictures on this machine.
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import numpy as np
import torch

from rali import Student
from rali.export.measure.resizing import cut
from rali.pictures.read import find_pictures
from rali.rewards import RaliReward
from rali.version import __version__

COUNT, BATCH = 200, 64
KINDS = {
    "float32": {},
    "bfloat16": {"dtype": torch.bfloat16},
    "float32, not rounded": {"rounded": False},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--model", default="builtin")
    arguments = parser.parse_args()
    student = Student.from_pretrained(arguments.model)
    rewards = {name: RaliReward(student, **options) for name, options in KINDS.items()}
    off: dict[str, list[float]] = {name: [] for name in KINDS}
    scores, windows = [], []
    for rgb in cut(find_pictures([arguments.photographs]), COUNT):
        scores.append(student.score([rgb])[0])
        picture = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None] / 255
        for name, reward in rewards.items():
            with torch.no_grad():
                off[name].append(abs(reward(picture).item() - scores[-1]))
        if min(rgb.shape[:2]) >= 512 and len(windows) < BATCH:
            windows.append(picture[0, :, :512, :512])
    lines = "| | median | 99 % | largest |\n| --- | ---: | ---: | ---: |\n"
    for name, values in off.items():
        shown = (np.median(values), np.quantile(values, 0.99), max(values))
        lines += f"| {name} | " + " | ".join(f"{value:.5f}" for value in shown) + " |\n"

    pictures = torch.stack(windows)
    plain = rewards["float32"]
    with torch.no_grad():
        together = plain(pictures)
        alone = torch.cat([plain(picture[None]) for picture in pictures])
    apart = (together - alone).abs().max().item()
    ties = len(pictures) - len(set(together.tolist()))

    def seconds(gradient: bool) -> float:
        found = []
        for _ in range(5):
            given = pictures[:8].clone().requires_grad_(gradient)
            begin = time.perf_counter()
            with torch.set_grad_enabled(gradient):
                made = plain(given).sum()
                if gradient:
                    made.backward()
            found.append(time.perf_counter() - begin)
        return float(np.median(found))

    report = (
        "# RaliReward beside the file path\n\n"
        f"Command: `python benchmarks/rewards.py --photographs DIR`, seed 0, model "
        f"{arguments.model}. {platform.machine()}, {torch.get_num_threads()} threads, torch "
        f"{torch.__version__}, rali {__version__}.\n\n"
        f"Difference from the score of the same picture read from a file, for {COUNT} photographs "
        f"with longer edges of 512 to 4,000 pixels and aspects up to 12 : 1; their scores "
        f"go from {min(scores):.2f} to {max(scores):.2f}:\n\n{lines}\n"
        f"Batch of {len(pictures)} against one at a time: {apart:.1e} at most. Ties among them: "
        f"{ties}.\n\nPictures per second, 512 pixels, batch 8: {8 / seconds(False):.1f} without "
        f"gradients, {8 / seconds(True):.1f} with.\n"
    )
    (Path(__file__).parent / "rewards.md").write_text(report, "utf-8")
    print(report)


if __name__ == "__main__":
    main()
