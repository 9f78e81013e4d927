"""The nano teacher before any reinforcement learning, on held-out photographs: loss and scores.

    python benchmarks/nano_teacher.py --data DIR --teacher runs/nano-teacher

TEACHER is the folder that recipes/weights/make_nano_teacher.py wrote. Lessons are made of Kodak's
photographs, degraded, in the recipe's way. Writes benchmarks/nano_teacher.md and the loss curve.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from rali.data.degraded import degrade_folder
from rali.pictures.measure import measure
from rali.pictures.read import open_picture
from rali.report.canvas import save_figure
from rali.report.plots import curves
from rali.runs.folder import RunFolder
from rali.teacher.ask import agreement, score
from rali.teacher.engines import Request, Sampling, filled, load_engine
from rali.teacher.models import load_teacher
from rali.teacher.questions import find_prompt
from rali.teacher.sft import SftExample

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "recipes" / "weights"))

from make_nano_teacher import lessons  # noqa: E402


@torch.inference_mode()
def loss(model: torch.nn.Module, processor: object, examples: list[SftExample]) -> float:
    """Mean negative log-likelihood of a completion's token, in nats."""
    total, count = 0.0, 0
    end = processor.tokenizer.eos_token
    for example in examples:
        inputs = processor.apply_chat_template(
            filled(Request(example.images, example.prompt)), add_generation_prompt=True,
            tokenize=True, return_dict=True, return_tensors="pt",
        )  # fmt: skip
        answer = processor.tokenizer(example.completion + end, return_tensors="pt")["input_ids"]
        ids = torch.cat([inputs["input_ids"], answer], 1)
        more = {k: v for k, v in inputs.items() if k not in ("input_ids", "attention_mask")}
        if "mm_token_type_ids" in more:
            more["mm_token_type_ids"] = F.pad(more["mm_token_type_ids"], (0, answer.shape[1]))
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **more).logits
        own = logits[0, -answer.shape[1] - 1 : -1].float()
        total += float(F.cross_entropy(own, answer[0], reduction="sum"))
        count += answer.shape[1]
    return total / count


def print_progress(stage: str, done: int, total: int, loss: float | None = None) -> None:
    print(f"{stage} {done}/{total}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, default=Path("runs/nano-teacher"))
    parser.add_argument("--lessons", type=int, default=300)
    arguments = parser.parse_args()
    kodak = sorted((arguments.data / "pristine").glob("kodak*"))
    rows = degrade_folder(kodak, arguments.teacher / "kodak", size=512, per_photograph=15)
    picks = np.random.default_rng(0).permutation(len(rows))[: arguments.lessons]
    # A comparison needs another version of its photograph, so all versions become lessons.
    measures = [measure(open_picture(row.image)) for row in rows]
    everything = lessons(rows, measures, passes=1, seed=0)
    examples = [everything[pick] for pick in picks]
    places = {
        path.name.replace("checkpoint-", "step "): path
        for path in sorted((arguments.teacher / "sft" / "checkpoints").glob("checkpoint-*"))
    }
    places |= {"as shipped, sharpened": Path("nano")}
    found = {}
    for name, place in places.items():
        model, processor = load_teacher(str(place), dtype="float32")
        found[name] = loss(model.eval(), processor, examples)
        print(name, found[name], flush=True)
    points = [
        (row["step"], row["loss"]) for row in RunFolder(arguments.teacher / "sft").metrics()
        if row["stage"] == "sft"
    ]  # fmt: skip
    scored = degrade_folder(kodak, arguments.teacher / "judged", size=512, per_photograph=8)
    scores = score(
        load_engine("transformers", "nano", batch_size=64), [row.image for row in scored],
        find_prompt("visualquality-r1/score"), samples=6, sampling=Sampling(max_new_tokens=150),
        progress=print_progress,
    )  # fmt: skip
    values = agreement(list(zip(scored, scores, strict=True)))
    save_figure(curves({"loss on new texts": {"nano teacher": points}}), HERE / "nano_teacher.png")
    lines = [
        "# The nano teacher's start\n",
        f"`python benchmarks/nano_teacher.py --data DIR`: {platform.machine()}, 2 cores, torch "
        f"{torch.__version__}. {len(examples)} lessons of Kodak's photographs, degraded, on which "
        "it was not trained; nats per token.\n",
        "| weights | validation loss |\n| --- | ---: |",
        *(f"| {name} | {value:.4f} |" for name, value in found.items()),
        f"\nScores of {len(scored)} degraded versions of Kodak's photographs, means of K = 6 "
        f"samples: SRCC **{values['srcc']:.3f}** (bar: ≥ 0.50), PLCC {values['plcc']:.3f}, spread "
        f"{values['spread']:.3f}; **{values['parsed']:.3f}** of the texts could be parsed (bar: ≥ "
        "0.98).\n",
        "\nEach pass of the training draws new texts, so the loss is on texts that it has not "
        "learned from:\n\n![Loss over steps](nano_teacher.png)\n",
    ]
    (HERE / "nano_teacher.md").write_text("\n".join(lines), "utf-8")
    (arguments.teacher / "validation.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
