"""Do explanations name what is wrong with a photograph? Photographs are degraded and explained.

What counts is how often the fault is among the likeliest meanings (`Scorer.explain`).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from rali.pictures.degrade import KINDS, degraded_versions
from rali.pictures.preprocess import shrink
from rali.pictures.read import open_picture
from rali.scoring.scorer import Scorer

SEED = 0


@dataclass(frozen=True)
class Versions:
    """n pictures, degraded and undegraded.

    Attributes:
        fault: [n], "good" for an undegraded picture. severity: [n], 0–5.
        embeddings: [n, D], the student's.
    """

    fault: np.ndarray
    severity: np.ndarray
    embeddings: np.ndarray

    def among_first(self, chances: np.ndarray, meanings: np.ndarray, top: int) -> np.ndarray:
        """[n]: whether the fault is one of the `top` likeliest meanings; chances: [n, M]."""
        firsts: np.ndarray = meanings[np.argsort(-chances, 1)[:, :top]]
        return (firsts == self.fault[:, None]).any(1)


def degrade_all(
    scorer: Scorer, photographs: Sequence[Path], longest: int | None = None
) -> Versions:
    """Each photograph, plain and with every fault × five severities, where that changes it.

    Args:
        longest: the edge, in pixels, that photographs are shrunk to first.
    """
    faults, severities, embeddings = [], [], []
    for path in photographs:
        plain = shrink(open_picture(path), longer=longest)
        noise_seed = partial(_noise_seed, path.stem)
        for fault, severity, picture in degraded_versions(plain, [("null", 0), *KINDS], noise_seed):
            faults.append(fault if severity else "good")
            severities.append(severity)
            embeddings.append(scorer.embed(picture))
    return Versions(np.array(faults), np.array(severities), np.concatenate(embeddings))


def _noise_seed(stem: str, fault: str, severity: int) -> int:
    return zlib.crc32(f"{SEED}/{stem}/{fault}/{severity}".encode())


def chances_of(scorer: Scorer, pictures: Versions) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [n, M] of the meanings [M], as explanations give them."""
    phrases = scorer.phrases
    meanings = np.array(list(dict.fromkeys(phrases.meanings)))
    chances = phrases.probabilities(pictures.embeddings)
    of_phrases = np.array(phrases.meanings)
    sums = [chances[:, of_phrases == meaning].sum(1) for meaning in meanings]
    return np.stack(sums, 1), meanings
