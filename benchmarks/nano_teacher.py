"""What the nano teacher sees and says, on photographs that it was not trained on.

    python benchmarks/nano_teacher.py --data DIR [--teacher nano] [--run runs/nano-teacher]

TEACHER is the packaged one or any teacher's folder; RUN is the folder that
recipes/weights/make_nano_teacher.py wrote, for the loss curve and the probe of the eyes. Kodak's
photographs are degraded (8 of 60 kinds each) and asked about: scores, degradations, pairs. Writes
benchmarks/nano_teacher.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rali.data.degraded import degrade_folder
from rali.data.manifest import Row
from rali.metrics import plcc, srcc
from rali.pictures.degrade import DISTORTIONS
from rali.report.canvas import save_figure
from rali.report.plots import curves
from rali.runs.folder import RunFolder
from rali.teacher.answers import Comparison, Degradation, Failure, Score
from rali.teacher.ask import Reply, ask, compare_both_ways
from rali.teacher.engines import Request, Sampling, load_engine
from rali.teacher.prompts import degradation_prompt
from rali.teacher.questions import find_prompt
from rali.teacher.requests import Engine

HERE = Path(__file__).parent
SAMPLES = 6
STRONG = 3  # obvious degradations of each photograph that are compared with it
NUMBER = re.compile(r"\d\.\d+")
# Measure → the bar, and what it is.
BARS = {
    "srcc": (0.85, "SRCC of the mean of K = 6 scores"),
    "above": (0.90, "original scored above a degradation of severity ≥ 2, of all such pairs"),
    "null": (0.70, "originals of which `null` is said, likeliest text"),
    "class": (0.75, "class right, of 13, likeliest text"),
    "pairs": (0.85, "obvious pairs right in both orders, without reference"),
    "pairs with reference": (0.90, "obvious pairs right in both orders, with reference"),
    "consistent": (0.97, "score in `<think>` within 0.3 of `<answer>`"),
    "parsed": (0.98, "texts that could be parsed"),
}
MORE = {
    "plcc": "PLCC of the mean of K = 6 scores",
    "spread": "standard deviation of a picture's K = 6 scores, mean",
    "above all": "photographs scored above all their degradations of severity ≥ 2",
    "class, sampled": "class right, means of two texts at temperature 1",
    "null, sampled": "`null` said of an original, likewise",
    "null claimed": "degraded pictures of which `null` is said, likeliest text",
    "severity": "severity at most 1 off where the class is right",
    "pairs, either order": "obvious pairs right, of both orders, without reference",
    "says a score": "texts whose `<think>` says a score",
}


def print_progress(stage: str, done: int, total: int, loss: float | None = None) -> None:
    print(f"{stage} {done}/{total}", flush=True)


def scores(engine: Engine, rows: list[Row]) -> tuple[dict[str, float], list[Reply]]:
    """How scores agree with the degradations, and the score in the reasoning with the answer."""
    prompt = find_prompt("visualquality-r1/score")
    replies = ask(
        engine, [Request((row.image,), prompt, seed) for row in rows for seed in range(SAMPLES)],
        Sampling(max_new_tokens=200), progress=print_progress,
    )  # fmt: skip
    answers = [reply.answer for reply in replies]
    values = np.array([a.value if isinstance(a, Score) else np.nan for a in answers])
    means = np.nanmean(values.reshape(-1, SAMPLES), 1)
    truth = np.array([row.score for row in rows])
    original = {row.content: m for row, m in zip(rows, means, strict=True) if not row.severity}
    above: dict[str, list[bool]] = {}
    for row, mean in zip(rows, means, strict=True):
        if (row.severity or 0) >= 2:
            above.setdefault(row.content, []).append(bool(original[row.content] > mean))
    said = [
        (float(numbers[-1]), answer.value)
        for answer in answers
        if isinstance(answer, Score) and (numbers := NUMBER.findall(answer.reasoning))
    ]
    found = {
        "srcc": srcc(means, truth),
        "plcc": plcc(means, truth),
        "spread": float(np.nanstd(values.reshape(-1, SAMPLES), 1, ddof=1).mean()),
        "above": float(np.mean([yes for each in above.values() for yes in each])),
        "above all": float(np.mean([all(each) for each in above.values()])),
        "consistent": float(np.mean([abs(a - b) <= 0.3 + 1e-9 for a, b in said])) if said else 0.0,
        "says a score": len(said) / len(replies),
    }
    return found, replies


def classes(engine: Engine, rows: list[Row]) -> tuple[dict[str, float], list[Reply]]:
    """Whether the degradation is named, and its absence."""
    prompt = degradation_prompt(DISTORTIONS)
    null = np.array([not row.severity for row in rows])
    likeliest = ask(
        engine, [Request((row.image,), prompt) for row in rows],
        Sampling(temperature=0, max_new_tokens=200), progress=print_progress,
    )  # fmt: skip
    sampled = ask(
        engine, [Request((row.image,), prompt, seed) for row in rows for seed in (0, 1)],
        Sampling(max_new_tokens=200), progress=print_progress,
    )  # fmt: skip

    def named(reply: Reply) -> str:
        return reply.answer.distortion if isinstance(reply.answer, Degradation) else ""

    names = np.array([named(reply) for reply in likeliest])
    right = names == [row.distortion for row in rows]
    drawn = np.array([named(reply) for reply in sampled]).reshape(-1, 2)
    drawn_right = (drawn == np.array([[row.distortion] for row in rows])).mean(1)
    off = [
        abs((reply.answer.severity or 0) - (row.severity or 0))
        for reply, row, yes in zip(likeliest, rows, right, strict=True)
        if yes and isinstance(reply.answer, Degradation)
    ]
    found = {
        "class": float(right.mean()),
        "null": float(right[null].mean()),
        "null claimed": float((names == "null")[~null].mean()),
        "class, sampled": float(drawn_right.mean()),
        "null, sampled": float(drawn_right[null].mean()),
        "severity": float(np.mean([each <= 1 for each in off])),
    }
    return found, [*likeliest, *sampled]


def pairs(engine: Engine, rows: list[Row]) -> tuple[dict[str, float], list[Reply]]:
    """Whether an original is found better than its obvious degradations, in both orders."""
    draw, chosen = np.random.default_rng(0), []
    for original in [row for row in rows if not row.severity]:
        strong = [r for r in rows if r.content == original.content and (r.severity or 0) >= 3]
        picked = draw.permutation(len(strong))[:STRONG]
        chosen += [(original.image, strong[place].image) for place in picked]
    found, replies = {}, []
    for name, with_reference in (("pairs", False), ("pairs with reference", True)):
        both = compare_both_ways(
            engine, [(a, b, a if with_reference else None) for a, b in chosen],
            sampling=Sampling(temperature=0, max_new_tokens=250), progress=print_progress,
        )  # fmt: skip
        right = np.array(
            [
                [isinstance(r.answer, Comparison) and r.answer.choice == "A" for r in each]
                for each in both
            ]
        )
        found[name] = float(right.all(1).mean())
        if not with_reference:
            found["pairs, either order"] = float(right.mean())
        replies += [reply for each in both for reply in each]
    return found | {"number of pairs": len(chosen)}, replies


def measured(teacher: str, photographs: list[Path], work: Path) -> dict[str, Any]:
    """All measures of one teacher; its texts are kept in `work/texts.json`."""
    work.mkdir(parents=True, exist_ok=True)
    rows = degrade_folder(photographs, work / "degraded", size=512, per_photograph=8)
    engine = load_engine("transformers", teacher, batch_size=64)
    found: dict[str, Any] = {"pictures": len(rows)}
    texts: list[Reply] = []
    for part in (classes, pairs, scores):
        values, replies = part(engine, rows)
        print(json.dumps(values, indent=1), flush=True)
        found |= values
        texts += replies
    failed = [isinstance(r.answer, Failure) or r.answer is None for r in texts]
    found |= {"parsed": 1 - float(np.mean(failed)), "texts": len(texts)}
    told = [[*(path.name for path in r.images), r.text] for r in texts]
    (work / "texts.json").write_text(json.dumps(told, indent=1), "utf-8")
    return found


def page(found: dict[str, Any], run: Path, minutes: float) -> str:
    def row(name: str, text: str, bar: float | None) -> str:
        met = "" if bar is None else f"≥ {bar:.2f} | {'yes' if found[name] >= bar else 'no'}"
        return f"| {text} | {found[name]:.3f} | {met or '|'} |"

    lines = [
        "# The nano teacher before reinforcement learning\n",
        f"`python benchmarks/nano_teacher.py --data DIR`: {platform.machine()}, {minutes:.0f} "
        f"minutes, torch {torch.__version__}. {found['pictures']} pictures: Kodak's photographs, "
        "on which it was not trained, and 8 degradations of each, drawn of 60; "
        f"{found['number of pairs']} obvious pairs, each of an original and its version of "
        f"severity 3 to 5; {found['texts']:,} texts.\n",
        "| | measured | bar | met |\n| --- | ---: | ---: | --- |",
        *(row(name, text, bar) for name, (bar, text) in BARS.items()),
        *(row(name, text, None) for name, text in MORE.items()),
    ]
    probe = run / "probe.json"
    if probe.is_file():
        values = json.loads(probe.read_text())
        lines += [
            "\nBefore the language model learned anything, one linear layer on the mean of the "
            f"vision tower's tokens read this off {values.pop('pictures')} versions of photographs "
            "that were held out of its training (not Kodak's):\n",
            "| | |\n| --- | ---: |",
            *(f"| {name} | {value:.3f} |" for name, value in values.items()),
        ]
        points = [(r["step"], r["loss"]) for r in RunFolder(run).metrics() if r["stage"] == "sft"]
        figure = curves({"loss on new texts": {"nano teacher": points}})
        save_figure(figure, HERE / "nano_teacher.png")
        lines.append(
            "\nEach lesson has new words, so the loss is on texts that it has not learned from:"
            "\n\n![Loss over steps](nano_teacher.png)"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", default="nano")
    parser.add_argument("--run", type=Path, default=Path("runs/nano-teacher"))
    parser.add_argument("--photographs", type=Path, help="a folder of others than Kodak's")
    parser.add_argument("-o", "--output", type=Path, help="the page; none for other photographs")
    arguments = parser.parse_args()
    kodak = sorted((arguments.data / "pristine").glob("kodak*"))
    own = arguments.photographs
    work = arguments.run / ("measured-others" if own else "measured")
    start = time.monotonic()
    found = measured(arguments.teacher, sorted(own.iterdir()) if own else kodak, work)
    (work / "measured.json").write_text(json.dumps(found, indent=1))
    text = page(found, arguments.run, (time.monotonic() - start) / 60)
    print(text)
    if not own or arguments.output:
        (arguments.output or HERE / "nano_teacher.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
