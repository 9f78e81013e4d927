"""Turn a distilled run into the packaged scorer: float16 weights, ONNX file, card with numbers.

    python recipes/make_builtin.py --data DIR --run runs/nano-biq2021

Evaluates once on BIQ2021's test split, in all and per subset, with the ONNX file that ships, and
writes rali/builtin/ and benchmarks/nano-biq2021.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path

import onnxruntime

from rali import Scorer, Student, __version__
from rali.evaluate import evaluate_predictions, to_markdown
from rali.export import compare, export_onnx
from rali.export.check import check_pictures
from rali.importers import biq2021

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    arguments = parser.parse_args()
    target = ROOT / "rali" / "builtin"
    student = Student.from_pretrained(arguments.run / "model")
    student.config.training["data"] = (
        "BIQ2021's train split (2,451 photographs with human scores; val chose when to stop), "
        "with reference rationales; nano itself was pretrained on degraded photographs"
    )
    student.save_pretrained(target, half=True)
    student = Student.from_pretrained(target)  # what ships is what float16 left
    onnx = export_onnx(student, target / "onnx" / "model.onnx")
    agreement = compare(student, onnx, check_pictures())
    agreement.require()

    whole = [r for r in biq2021.read(arguments.data / "biq2021") if r.split == "test"]
    parts = biq2021.read(arguments.data / "biq2021", by_subset=True)
    pictures = [row.image for row in whole]
    predictions = dict(zip(pictures, Scorer(onnx)(pictures).tolist(), strict=True))
    evaluation = evaluate_predictions(predictions, whole, split="test")
    subsets = evaluate_predictions(predictions, parts, split="test")
    student.config.training["notes"] = [
        f"On {name} alone: SRCC {numbers['srcc']:.3f}, PLCC {numbers['plcc']:.3f} "
        f"({numbers['n']} pictures)."
        for name, numbers in subsets["datasets"].items()
    ]
    student.save_pretrained(target, evaluation=evaluation, half=True)
    report = (
        "# The built-in nano student on BIQ2021's test split\n\n"
        f"Command: `python recipes/make_builtin.py --data DIR --run RUN`, RUN from "
        f"recipes/nano-biq2021.yaml, seed 0. {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}, onnxruntime {onnxruntime.__version__}, rali "
        f"{__version__}. ONNX against torch on {len(agreement.onnx_scores)} non-square "
        f"photographs: {agreement.max_difference:.1e} at most.\n\n{to_markdown(evaluation)}\n"
        f"{to_markdown(subsets)}"
    )
    (ROOT / "benchmarks" / "nano-biq2021.md").write_text(report, "utf-8")
    numbers = json.dumps({"all": evaluation, "subsets": subsets}, indent=1)
    (ROOT / "benchmarks" / "nano-biq2021.json").write_text(numbers + "\n", "utf-8")
    print(report)


if __name__ == "__main__":
    main()
