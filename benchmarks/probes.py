"""What the built-in makes of patterns, artefacts and adversaries: `rali probe` as a page.

    python benchmarks/probes.py --data DIR [--seeds 0 101 102]

Kodak's photographs, which the model was not trained on, and seeds that training never drew. Writes
benchmarks/probes.md and, of the first seed, benchmarks/probes.jpg.
"""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path

import torch

from rali.cli.probe import table
from rali.pictures.read import open_picture
from rali.rewards import RaliReward
from rali.rewards.probe import contact_sheet, probe
from rali.runs.progress import StageProgress
from rali.version import __version__

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 101, 102])
    arguments = parser.parse_args()
    kodak = sorted((arguments.data / "pristine").glob("kodak*.jpg"))
    photographs = [open_picture(path) for path in kodak]
    parts = [
        "# What the built-in model makes of probes",
        f"`python benchmarks/probes.py --data DIR`: {platform.machine()}, {os.cpu_count()} cores, "
        f"torch {torch.__version__}, rali {__version__}; Kodak's 24 photographs, which it was not "
        "trained on. score: the mean of a probe's pictures; highest; guarded: the highest with the "
        "guards (caution 1, cut-off at the distance of real photographs); beside: what they are "
        "compared with, without guards.",
    ]
    for number, seed in enumerate(arguments.seeds):
        with StageProgress(resumes=False) as progress:
            found = list(probe(RaliReward(), photographs, seed=seed, progress=progress))
        judged = [each.passed for each in found if each.passed is not None]
        parts += [f"## Seed {seed}: {sum(judged)} of {len(judged)} passed", table(found)]
        if number == 0:
            contact_sheet(found).save(HERE / "probes.jpg", quality=80)
            parts.append("![One picture of each probe](probes.jpg)")
    text = "\n\n".join(parts) + "\n"
    (HERE / "probes.md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
