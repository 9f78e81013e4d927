"""Make the built-in model's table of phrases: rali/builtin/phrases.npz.

    python recipes/weights/builtin_phrases.py --data DIR

DIR holds `pristine/` (photographs without visible faults; Kodak's are left out, as explanations are
measured on them) and `biq2021/`. From its train split come the best photograph of each of 400
scenes, and 300 reference rationales that are searched for sentences. Run it after
recipes/weights/make_builtin.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rali import Student
from rali.data.importers import biq2021
from rali.data.reference_rationales import reference_triplets
from rali.distill.learn_phrases import PhrasesConfig, best_photographs, build_phrases
from rali.runs.progress import StageProgress, renamed
from rali.scoring.phrases import write_phrases
from rali.student.nano import nano_text
from rali.student.student import weights_sha256

ROOT = Path(__file__).parents[2]
RATIONALES, SCENES = 300, 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    photographs = sorted(
        path
        for path in (arguments.data / "pristine").glob("*.jpg")
        if not path.name.startswith("kodak")
    )
    student = Student.from_pretrained("builtin")
    train = [row for row in biq2021.read(arguments.data / "biq2021") if row.split == "train"]
    best = best_photographs(train, SCENES)
    with StageProgress() as progress:
        rationales = []
        for number, row in enumerate(train[:RATIONALES]):
            rationales += [t.reasoning for t in reference_triplets(row, count=1)]
            progress("rationales", number + 1, RATIONALES)
        phrases = build_phrases(
            student.encoder,
            nano_text(),
            student.preprocess,
            [*photographs, *best],
            rationales,
            PhrasesConfig(photographs=1000, pictures=12000),
            seed=arguments.seed,
            weights_sha256=weights_sha256(student),
            progress=renamed(progress, "degrade"),
        )
    assert phrases is not None
    path = write_phrases(phrases, ROOT / "rali" / "builtin")
    print(f"{path}: {len(phrases.texts)} phrases, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
