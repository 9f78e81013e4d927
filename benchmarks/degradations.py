"""Fidelity of each degradation at each severity: writes benchmarks/degradations.md.

In: photographs of scikit-image and scikit-learn. Out: the mean SSIM and PSNR (scikit-image) against
the original, and how many photographs break the order of severities.

    python benchmarks/degradations.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from rali.data.degraded import degraded_score
from rali.pictures.degrade import DISTORTIONS, degrade
from rali.pictures.preprocess import shrink
from rali.pictures.samples import sample_photographs

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "china", "flower")
EDGE = 256
HEAD = """# Degradations: fidelity by class and severity

Mean over {count} photographs ({names}), longer edge {edge} pixels; SSIM and PSNR (dB) by
scikit-image. "Out of order" counts photographs whose SSIM or PSNR does not fall at every step of
severity. Score is interpolated in KADID-10k's mean human scores of the nearest type
at our strength (kadid_scores.py).
Written by `python benchmarks/degradations.py`.

| class | measure | 1 | 2 | 3 | 4 | 5 | out of order |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def line(name: str, label: str, values: list[float], digits: int, disorder: str) -> str:
    return f"| {name} | {label} | {' | '.join(f'{v:.{digits}f}' for v in values)} | {disorder} |\n"


def main() -> None:
    originals = [shrink(rgb, longer=EDGE) for rgb in sample_photographs(PHOTOGRAPHS)]
    text = HEAD.format(count=len(originals), names=", ".join(PHOTOGRAPHS), edge=EDGE)
    for name in DISTORTIONS:
        pairs = [[(x, degrade(x, name, s)) for s in range(1, 6)] for x in originals]
        ssim = np.array([[structural_similarity(*p, channel_axis=2) for p in row] for row in pairs])
        psnr = np.array([[peak_signal_noise_ratio(*p) for p in row] for row in pairs])
        for label, values, digits in (("SSIM", ssim, 3), ("PSNR", psnr, 1)):
            disorder = int((np.diff(values, axis=1) >= 0).any(axis=1).sum())
            text += line(name, label, list(values.mean(axis=0)), digits, str(disorder))
        text += line(name, "score", [degraded_score(name, s) for s in range(1, 6)], 2, "")
    Path(__file__).with_suffix(".md").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
