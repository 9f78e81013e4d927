"""Do the built-in model's explanations name what is wrong with a photograph?

    python benchmarks/explanations.py --data DIR

Photographs that neither nano nor the table of phrases was trained on, Kodak's and the best of
scenes of BIQ2021's test split, are degraded in 12 ways × 5 severities. The measure is how often the
fault is among the first three meanings. Of some photographs one half is degraded alone, and should
score lower in the map. Writes benchmarks/explanations.md.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from rali import Scorer
from rali.data.importers import biq2021
from rali.data.manifest import Row
from rali.distill.phrase_list import own_phrases
from rali.export.measure.explanations import SEED, Versions, chances_of, degrade_all
from rali.pictures.degrade import DISTORTIONS, degrade
from rali.student.nano import nano_text
from rali.version import __version__

TOP = 3
SHRUNK = 512  # pixels of the longer edge, as in benchmarks/nano-biq2021.md
SCENES = 40  # of BIQ2021
MAPPED = 8  # photographs of which a half is degraded
BAR = 0.92


def best_of_scenes(data: Path) -> list[Path]:
    """The best photograph of each of the best scenes in the test split, by human scores."""
    scenes: dict[str, Row] = {}
    for row in sorted(biq2021.read(data), key=lambda row: row.score or 0):
        if row.split == "test":
            scenes[row.content] = row
    good = sorted(scenes.values(), key=lambda row: -(row.score or 0))[:SCENES]
    return [row.image for row in good]


def plain_cosine(pictures: Versions) -> tuple[np.ndarray, np.ndarray]:
    """Cosines [n, M] with the nearest phrase of each meaning, by the texts of the alignment."""
    phrases = own_phrases()
    texts = nano_text().encode([phrase.sentence for phrase in phrases]).numpy()
    images = pictures.embeddings / np.linalg.norm(pictures.embeddings, axis=1, keepdims=True)
    cosines = images @ (texts / np.linalg.norm(texts, axis=1, keepdims=True)).T
    meanings = np.array(list(dict.fromkeys(phrase.meaning for phrase in phrases)))
    own = np.array([phrase.meaning for phrase in phrases])
    return np.stack([cosines[:, own == meaning].max(1) for meaning in meanings], 1), meanings


def overview(name: str, pictures: Versions, chances: np.ndarray, meanings: np.ndarray) -> str:
    first = pictures.among_first(chances, meanings, 1)
    three = pictures.among_first(chances, meanings, TOP)
    bad = pictures.severity > 0
    shares = (
        three[bad].mean(),
        three[pictures.severity > 1].mean(),
        first[bad].mean(),
        three[~bad].mean(),
        first[~bad].mean(),
    )
    return f"| {name} | " + " | ".join(f"{share:.1%}" for share in shares) + " |"


def per_class(pictures: Versions, chances: np.ndarray, meanings: np.ndarray) -> list[str]:
    three = pictures.among_first(chances, meanings, TOP)
    bad = pictures.severity > 0
    rows = [(fault, pictures.fault == fault) for fault in DISTORTIONS]
    lines = ["| fault | 1 | 2 | 3 | 4 | 5 | all | ≥ 2 |", "| --- |" + " ---: |" * 7]
    for name, own in [*rows, ("**all**", bad)]:
        picked = [own & (pictures.severity == severity) for severity in range(1, 6)]
        picked += [own & bad, own & (pictures.severity > 1)]
        lines.append(f"| {name} | " + " | ".join(f"{three[p].mean():.0%}" for p in picked) + " |")
    return lines


def reliability(pictures: Versions, chances: np.ndarray, meanings: np.ndarray) -> list[str]:
    """For the first meanings of degraded pictures: promised and true probabilities."""
    bad = pictures.severity > 0
    promised, true = chances.max(1)[bad], pictures.among_first(chances, meanings, 1)[bad]
    fifth = np.minimum((promised * 5).astype(int), 4)
    lines = ["| probability of the first | pictures | mean | right |", "| --- |" + " ---: |" * 3]
    error = 0.0
    for place in sorted(set(fifth.tolist())):
        own = fifth == place
        error += own.mean() * abs(promised[own].mean() - true[own].mean())
        lines.append(
            f"| {place / 5:.1f}–{place / 5 + 0.2:.1f} | {own.sum()} | {promised[own].mean():.2f} | "
            f"{true[own].mean():.2f} |"
        )
    return [*lines, "", f"Expected calibration error: {error:.3f}."]


def maps(scorer: Scorer, photographs: Sequence[Path]) -> list[str]:
    """How the map's scores change in the degraded half, and how often that half is the lower."""
    lines = [
        "| fault, severity 5 | change in that half | that half lower than the other |",
        "| --- | ---: | ---: |",
    ]
    before = [scorer.map(path) for path in photographs]
    for fault in DISTORTIONS:
        changes, lower = [], []
        for heatmap in before:
            half = heatmap.picture.shape[1] // 2
            picture = heatmap.picture.copy()
            picture[:, :half] = degrade(picture, fault, 5, SEED)[:, :half]
            after = scorer.map(picture)
            reach = min(picture.shape[:2]) / 6
            inside = after.centres[1] + reach <= half
            outside = after.centres[1] - reach >= half
            changes.append((after.scores - heatmap.scores)[:, inside].mean())
            lower.append(after.scores[:, inside].mean() < after.scores[:, outside].mean())
        lines.append(f"| {fault} | {np.mean(changes):+.2f} | {sum(lower)} of {len(lower)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    photographs = sorted((arguments.data / "pristine").glob("kodak*.jpg"))
    scorer = Scorer()
    native = degrade_all(scorer, photographs)
    small = degrade_all(scorer, photographs, SHRUNK)
    other = degrade_all(scorer, best_of_scenes(arguments.data / "biq2021"))
    found = chances_of(scorer, native)
    table = [
        f"| | fault among the first {TOP} (bar: {BAR:.0%}) | of severities ≥ 2 | fault first | "
        f"undegraded: good among the first {TOP} | good first |",
        "| --- |" + " ---: |" * 5,
        overview("Kodak, plain cosine", native, *plain_cosine(native)),
        overview("Kodak, explanations", native, *found),
        overview(f"Kodak, shrunk to {SHRUNK} px, plain cosine", small, *plain_cosine(small)),
        overview(f"Kodak, shrunk to {SHRUNK} px, explanations", small, *chances_of(scorer, small)),
        overview("BIQ2021 test, plain cosine", other, *plain_cosine(other)),
        overview("BIQ2021 test, explanations", other, *chances_of(scorer, other)),
    ]
    text = "\n".join(
        [
            "# Explanations and maps of the built-in model\n",
            f"`python benchmarks/explanations.py --data DIR`: {platform.machine()}, "
            f"{os.cpu_count()} cores, Python {platform.python_version()}, onnxruntime "
            f"{onnxruntime.__version__}, rali {__version__}, seed {SEED}; "
            f"Kodak's {len(photographs)} photographs (768 × 512) and the best of {SCENES} scenes "
            "of BIQ2021's test split (512 × 512), plain and with 12 faults × 5 severities. No "
            "model was trained on them; Kodak's were used to choose how the table is made. "
            f"There are {found[1].size} meanings: a guess has the fault among {TOP} of them in "
            f"{TOP / found[1].size:.0%}. Plain cosine: images after the encoder's fine-tuning, "
            "with the frozen texts.\n",
            *table,
            "\nA slight fault changes a photograph less than photographs differ from each other: "
            "darkening of severity 1 takes 5 % from the middle tone, and nothing in the picture "
            "shows that it was lighter. For the same reason an explanation often finds a slight "
            "fault in a photograph without one.\n",
            f"## Kodak: fault among the first {TOP}, by severity\n",
            *per_class(native, *found),
            "\n## Probabilities\n",
            *reliability(native, *found),
            "\n## Maps\n",
            f"The left half of {MAPPED} photographs was degraded.\n",
            *maps(scorer, photographs[:: len(photographs) // MAPPED]),
            "",
        ]
    )
    (Path(__file__).parent / "explanations.md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
