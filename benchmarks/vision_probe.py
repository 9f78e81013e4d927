"""What can be read off the nano teacher's eyes: a bound on what its mouth could learn to say.

    python benchmarks/vision_probe.py --data DIR -o runs/vision-probe

Reinforcement learning of the language model alone (`vision: false`) cannot score better than the
features of the vision tower allow. A ridge regression of the score on the mean and the spread of
the visual tokens is fitted to photographs that RL trains on, and, as the most that could be hoped
for, to Kodak's own photographs, each predicted by a fit on the others. Writes vision_probe.md.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rali.data.degraded import degrade_folder
from rali.data.manifest import Row
from rali.metrics import plcc, srcc
from rali.runs.progress import Progress, StageProgress, renamed
from rali.teacher.ask import score
from rali.teacher.engines import Sampling, load_engine
from rali.teacher.models import load_teacher, opened
from rali.teacher.questions import find_prompt

SAMPLES, TOKENS = 6, 150


def features(rows: Sequence[Row], progress: Progress) -> np.ndarray:
    """Mean and standard deviation of each picture's visual tokens, [N, 2 D]."""
    model, processor = load_teacher("nano", dtype="float32")
    found = []
    with torch.inference_mode():
        for done, row in enumerate(rows, 1):
            seen = processor.image_processor(images=[opened(row.image)], return_tensors="pt")
            tokens = model.get_image_features(**seen).pooler_output[0]
            found.append(torch.cat([tokens.mean(0), tokens.std(0)]).numpy())
            progress("look", done, len(rows))
    return np.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/vision-probe"))
    arguments = parser.parse_args()
    pristine = sorted((arguments.data / "pristine").glob("*.jpg"))
    sets = {"kodak": ("kodak", 8), "known": ("", 15)}
    with StageProgress() as progress:
        rows = {
            name: degrade_folder(
                [path for path in pristine if path.name.startswith("kodak") == bool(start)],
                arguments.output / name, size=512, per_photograph=count,
                progress=renamed(progress, f"degrade {name}"),
            )
            for name, (start, count) in sets.items()
        }  # fmt: skip
        seen = {name: features(own, progress) for name, own in rows.items()}
        said = score(
            load_engine("transformers", "nano", batch_size=64),
            [row.image for row in rows["kodak"]], find_prompt("visualquality-r1/score"),
            samples=SAMPLES, sampling=Sampling(max_new_tokens=TOKENS), progress=progress,
        )  # fmt: skip
    truth = {name: np.array([row.score for row in own]) for name, own in rows.items()}
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 11)))
    groups = [row.content for row in rows["kodak"]]
    predicted = {
        f"nano, mean of {SAMPLES} scores": np.array([f.score or np.nan for f in said]),
        f"ridge, fitted to {len(rows['known']):,} other pictures": ridge.fit(
            seen["known"], truth["known"]
        ).predict(seen["kodak"]),
        "ridge, fitted to the other Kodak photographs": cross_val_predict(
            ridge, seen["kodak"], truth["kodak"], groups=groups, cv=GroupKFold(len(set(groups)))
        ),
    }
    draws = np.random.default_rng(0).integers(len(groups), size=(1000, len(groups)))
    lines = []
    start = next(iter(predicted.values()))
    for name, values in predicted.items():
        beside = [
            srcc(values[d], truth["kodak"][d]) - srcc(start[d], truth["kodak"][d]) for d in draws
        ]
        low, high = np.quantile(beside, [0.025, 0.975])
        own = srcc(values, truth["kodak"])
        lines.append(
            f"| {name} | {own:.3f} | {plcc(values, truth['kodak']):.3f} | "
            f"{own - srcc(start, truth['kodak']):+.3f} [{low:+.3f}, {high:+.3f}] |"
        )
    text = (
        "# What can be read off the nano teacher's eyes\n\n"
        f"`python benchmarks/vision_probe.py --data DIR`: {platform.machine()}, Python "
        f"{platform.python_version()}, torch {torch.__version__}, seed 0. {len(groups)} pictures: "
        "Kodak's photographs, on which nothing of nano was trained, and 8 degradations of each. "
        f"Features: mean and standard deviation of the visual tokens, {seen['kodak'].shape[1]} "
        "numbers. Intervals are 95 % bootstrap intervals over pictures.\n\n"
        "| scores from | SRCC | PLCC | SRCC beside nano's |\n| --- | ---: | ---: | ---: |\n"
        + "\n".join(lines)
        + "\n"
    )
    Path(__file__).with_suffix(".md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
