"""Do the built-in model's explanations name what is wrong with a photograph?

    python benchmarks/explanations.py --data DIR

Kodak's photographs, which neither nano nor the table of phrases was trained on, are degraded in 12
ways × 5 severities; counted is how often the fault is among the first three meanings. Half of each
is also degraded alone, and must score lower in the map. Writes benchmarks/explanations.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from rali import Scorer, __version__
from rali.degradations import DISTORTIONS, degrade
from rali.encoders import load_encoder
from rali.phrases import own_phrases
from rali.pictures import open_picture
from rali.preprocess import Preprocess

TOP, SEED, BINS = 3, 0, 5
SIZES = {"as they are": None, "shrunk to 512 px": 512}
MAPPED = 8  # photographs whose halves are degraded


@dataclass
class Measured:
    """Degraded pictures: what was done to each, and the embeddings [n, D]; "good" for nothing."""

    distortion: np.ndarray
    severity: np.ndarray
    embeddings: np.ndarray

    @property
    def degraded(self) -> np.ndarray:
        return self.severity > 0


@dataclass
class Ranked:
    """Per picture the meanings, nearest first [n, M], and their probabilities where there are."""

    names: np.ndarray
    chances: np.ndarray

    def hit(self, measured: Measured, top: int) -> np.ndarray:
        return (self.names[:, :top] == measured.distortion[:, None]).any(1)


def measure(scorer: Scorer, photographs: Sequence[Path], longest: int | None) -> Measured:
    distortions, severities, parts = [], [], []
    for path in photographs:
        plain = shrunk(open_picture(path), longest)
        pictures = [plain]
        states = [("good", 0)]
        for name in DISTORTIONS:
            for severity in range(1, 6):
                seed = zlib.crc32(f"{SEED}/{path.stem}/{name}/{severity}".encode())
                picture = degrade(plain, name, severity, seed)
                if not np.array_equal(picture, plain):
                    pictures.append(picture)
                    states.append((name, severity))
        parts.append(scorer.embed(pictures))
        distortions += [name for name, _ in states]
        severities += [severity for _, severity in states]
    return Measured(np.array(distortions), np.array(severities), np.concatenate(parts))


def shrunk(rgb: np.ndarray, longest: int | None) -> np.ndarray:
    if longest is None:
        return rgb
    factor = longest / max(rgb.shape[:2])
    size = Preprocess(size=round(min(rgb.shape[:2]) * factor))
    return whole(rgb, size)


def whole(rgb: np.ndarray, size: Preprocess) -> np.ndarray:
    from PIL import Image

    factor = size.size / min(rgb.shape[:2])
    edges = (round(rgb.shape[1] * factor), round(rgb.shape[0] * factor))
    return np.asarray(Image.fromarray(rgb).resize(edges, Image.Resampling.LANCZOS))
