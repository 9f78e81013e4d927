"""What reinforcement learning on people's scores does to the nano teacher, and on its own votes.

    python benchmarks/teacher.py --data DIR -o runs/bench-teacher [--only NAME ...] [--seeds 3]

Every training starts from the packaged nano teacher and takes about a quarter of an hour on two
cores at most and is tested on BIQ2021's test split. `human`: RL2R on BIQ2021's train split.
`mixed`: on it and on degraded photographs together. `evoquality`: the teacher's own votes on the
train split without its scores. Writes benchmarks/teacher.md. Trainings are kept, and a stopped call
is resumed. The papers' ablations, on degraded photographs, are in recipes/sweeps.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from rali.data.degraded import degrade_folder
from rali.data.importers import biq2021
from rali.data.manifest import Row, read_manifest, write_manifest
from rali.metrics import plcc, srcc
from rali.recipes import find_recipe
from rali.runs.config import from_dict, read_yaml
from rali.runs.folder import RunFolder
from rali.runs.progress import Progress, StageProgress, renamed
from rali.teacher.ask import score
from rali.teacher.engines import Sampling, load_engine
from rali.teacher.examples import of_split
from rali.teacher.grpo import GrpoConfig, train
from rali.teacher.questions import find_prompt
from rali.teacher.tasks import TaskConfig

HERE = Path(__file__).parent
EXPERIMENTS = ("human", "mixed", "evoquality")
SAMPLES = 6
TOKENS = 150
STEPS = 30
LONG = 56  # about a quarter of an hour
VQ = find_prompt("visualquality-r1/score")
BASE = GrpoConfig(
    model="nano",
    prompts_per_step=16,
    num_generations=6,
    micro_batch=48,
    lr=3e-4,
    beta=0.04,
    vision=False,
    max_completion_length=TOKENS,
    dtype="float32",
    gradient_checkpointing=False,
    save_every=10,
)


class Bench:
    """The data, the trainings and the scores; each is made once and kept."""

    def __init__(self, data: Path, output: Path, progress: Progress) -> None:
        self.output, self.progress = output, progress
        pristine = sorted((data / "pristine").glob("*.jpg"))
        others = [path for path in pristine if not path.name.startswith("kodak")]
        biq = [
            dataclasses.replace(row, dataset="biq2021") for row in biq2021.read(data / "biq2021")
        ]
        self.test = [r for r in biq if r.split == "test" and r.score is not None]
        self.manifests = {
            "degraded": self._write("degraded", self._degrade(others, "known", 15)),
            "biq2021": self._write(
                "biq2021", [r for r in biq if r.split in ("train", "val") and r.score is not None]
            ),
        }

    def _degrade(self, photographs: list[Path], name: str, count: int) -> list[Row]:
        return degrade_folder(
            photographs, self.output / "pictures" / name, size=512, per_photograph=count,
            progress=renamed(self.progress, f"degrade {name}"),
        )  # fmt: skip

    def _write(self, name: str, rows: list[Row]) -> str:
        path = self.output / f"{name}.csv"
        write_manifest(rows, path)
        return str(path)

    def teacher(self, name: str, config: GrpoConfig, steps: int = STEPS) -> Path:
        """The folder of a trained teacher, which is trained if it is not there yet."""
        folder = self.output / name
        pictures = steps * config.prompts_per_step
        count = sum(len(train_rows(m)) for task in config.tasks for m in task.manifests)
        with RunFolder(folder).timed("train"):
            return train(
                dataclasses.replace(config, epochs=pictures / count), folder,
                progress=renamed(self.progress, name),
            )  # fmt: skip

    def scores(self, model: str | Path) -> dict[str, np.ndarray]:
        """Mean score, spread and share of parsed texts per picture of the test split."""
        name = "start" if model == "nano" else Path(model).parent.name
        file = self.output / "scores" / f"{name}-biq2021-{SAMPLES}.json"
        if not file.is_file():
            found = score(
                load_engine("transformers", str(model), batch_size=64),
                [r.image for r in self.test],
                VQ, samples=SAMPLES, sampling=Sampling(max_new_tokens=TOKENS),
                progress=renamed(self.progress, f"{name} on biq2021"),
            )  # fmt: skip
            file.parent.mkdir(parents=True, exist_ok=True)
            values = [[f.score, f.spread, f.parsed / f.samples] for f in found]
            file.write_text(json.dumps(values))
        values = np.array(json.loads(file.read_text()), dtype=float)
        # A picture without any score gets the mean of the others.
        values[np.isnan(values[:, 0]), 0] = np.nanmean(values[:, 0])
        truth = np.array([row.score for row in self.test])
        return dict(zip(("score", "spread", "parsed"), values.T, strict=True)) | {"truth": truth}


def train_rows(manifest: str) -> list[Row]:
    return of_split(read_manifest(manifest), "train")


def interval(
    statistic: Callable[[np.ndarray], float], count: int, seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap interval of a statistic of drawn places, from 1,000 resamples."""
    draw = np.random.default_rng(seed)
    values = [statistic(draw.integers(count, size=count)) for _ in range(1000)]
    return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))


def gain(before: dict[str, np.ndarray], after: list[dict[str, np.ndarray]]) -> str:
    """SRCC after minus before, mean over seeds, with its paired interval over pictures."""

    def difference(places: np.ndarray) -> float:
        truth = before["truth"][places]
        start = srcc(before["score"][places], truth)
        return float(np.mean([srcc(a["score"][places], truth) - start for a in after]))

    everyone = np.arange(len(before["truth"]))
    low, high = interval(difference, len(everyone))
    return f"{difference(everyone):+.3f} [{low:+.3f}, {high:+.3f}]"


def summary(values: dict[str, np.ndarray]) -> str:
    truth = values["truth"]
    return (
        f"{srcc(values['score'], truth):.3f} | {plcc(values['score'], truth):.3f} | "
        f"{np.nanmean(values['spread']):.3f} | {np.mean(values['parsed']):.3f}"
    )


def table(bench: Bench, runs: dict[str, Path]) -> list[str]:
    start = bench.scores("nano")
    lines = [
        f"| teacher, on biq2021 | SRCC | PLCC | spread of K = {SAMPLES} | parsed | minutes |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        f"| start | {summary(start)} | |",
    ]
    for name, model in runs.items():
        minutes = RunFolder(model.parent).seconds()["train"] / 60
        lines.append(f"| {name} | {summary(bench.scores(model))} | {minutes:.0f} |")
    return lines


def ranked(bench: Bench, *names: str, seed: int) -> GrpoConfig:
    """RL2R on manifests by name."""
    manifests = [bench.manifests[name] for name in names]
    return dataclasses.replace(
        BASE, tasks=[TaskConfig(manifests=manifests)], seed=seed,
        draw="uniform" if len(names) > 1 else "size",
    )  # fmt: skip


def human(bench: Bench, seeds: int, *, both: bool) -> list[str]:
    names = ("biq2021", "degraded") if both else ("biq2021",)
    label = "mixed" if both else "human"
    # On both, each is seen about as often as alone.
    runs = {
        f"{label}, seed {seed}": bench.teacher(
            f"{label}-{seed}", ranked(bench, *names, seed=seed), LONG if both else STEPS
        )
        for seed in range(seeds)
    }
    start = bench.scores("nano")
    after = [bench.scores(model) for model in runs.values()]
    lines = [
        f"## RL2R on human scores{', together with degraded photographs' if both else ''}\n",
        *table(bench, runs),
        f"\nSRCC {gain(start, after)} (bar: interval above 0).\n",
    ]
    single = [bench.output / f"human-{seed}" / "model" for seed in range(seeds)]
    if both and all(model.is_dir() for model in single):
        alone = [bench.scores(model) for model in single]

        def difference(places: np.ndarray) -> float:
            truth = start["truth"][places]
            return float(
                np.mean([srcc(a["score"][places], truth) for a in after])
                - np.mean([srcc(a["score"][places], truth) for a in alone])
            )

        everyone = np.arange(len(start["truth"]))
        low, high = interval(difference, len(everyone))
        lines.append(
            f"Mixed minus single: {difference(everyone):+.3f} [{low:+.3f}, {high:+.3f}] "
            "(bar: lower bound above −0.03).\n"
        )
    return lines


def evoquality(bench: Bench, seeds: int) -> list[str]:
    rows = train_rows(bench.manifests["biq2021"])
    bare = [dataclasses.replace(row, score=None, raw_score=None, std=None) for row in rows]
    recipe = read_yaml(find_recipe("nano-evoquality"))
    recipe["tasks"][0]["manifests"] = [bench._write("unlabelled", bare)]
    config = from_dict(GrpoConfig, recipe | {"trl": {}})
    runs = {
        f"own votes, seed {seed}": bench.teacher(
            f"evoquality-{seed}", dataclasses.replace(config, seed=seed)
        )
        for seed in range(seeds)
    }
    start = bench.scores("nano")
    after = [bench.scores(model) for model in runs.values()]
    return [
        "## Its own votes on photographs without scores\n",
        *table(bench, runs),
        f"\nSRCC {gain(start, after)} by {STEPS} steps on BIQ2021's train split, whose scores are "
        "not read.\n",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/bench-teacher"))
    parser.add_argument("--only", nargs="*", default=list(EXPERIMENTS), choices=EXPERIMENTS)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    with StageProgress("reward") as progress:
        bench = Bench(arguments.data, arguments.output, progress)
        make: dict[str, Callable[[], list[str]]] = {
            "human": lambda: human(bench, arguments.seeds, both=False),
            "mixed": lambda: human(bench, arguments.seeds, both=True),
            "evoquality": lambda: evoquality(bench, arguments.seeds),
        }
        parts = {name: "\n".join(make[name]()) for name in arguments.only}
    kept = arguments.output / "parts.json"
    known = json.loads(kept.read_text()) if kept.is_file() else {}
    kept.write_text(json.dumps(known | parts))
    head = (
        "# Reinforcement learning of the nano teacher\n\n"
        f"`python benchmarks/teacher.py --data DIR`: {platform.machine()}, 2 cores, Python "
        f"{platform.python_version()}, torch {torch.__version__}; {STEPS} steps "
        f"({LONG} with degraded photographs mixed in) of 16 pictures × 6 completions, RL2R "
        f"with β = {BASE.beta}, lr {BASE.lr:g}. Scores are means of K = {SAMPLES} samples, "
        "intervals 95 % bootstrap intervals over pictures.\n\n"
    )
    text = head + "\n".join((known | parts)[name] for name in EXPERIMENTS if name in known | parts)
    if missing := [name for name in EXPERIMENTS if name not in known | parts]:
        text += f"\nNot measured with this teacher: {', '.join(missing)}.\n"
    (HERE / "teacher.md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
