"""Do explanations name what is wrong with a photograph? Photographs are degraded, and explained.

Counted is how often the fault is among the likeliest meanings (`Scorer.explain`).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rali.pictures.degrade import DISTORTIONS, degrade
from rali.pictures.preprocess import shrink
from rali.pictures.read import open_picture
from rali.scoring.scorer import Scorer

SEED = 0


@dataclass(frozen=True)
class Degraded:
    """n pictures, degraded and not.

    Attributes:
        fault: [n], "good" for none. severity: [n], 0–5.
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
) -> Degraded:
    """Each photograph plain and with every fault × five severities, where that changes it.

    Args:
        longest: edge in pixels that photographs are shrunk to first.
    """
    states: list[tuple[str, int]] = []
    parts = []
    for path in photographs:
        plain = shrink(open_picture(path), longer=longest)
        states.append(("good", 0))
        parts.append(scorer.embed(plain))
        for fault in DISTORTIONS:
            for severity in range(1, 6):
                own = zlib.crc32(f"{SEED}/{path.stem}/{fault}/{severity}".encode())
                picture = degrade(plain, fault, severity, own)
                if not np.array_equal(picture, plain):
                    states.append((fault, severity))
                    parts.append(scorer.embed(picture))
    faults, severities = zip(*states, strict=True)
    return Degraded(np.array(faults), np.array(severities), np.concatenate(parts))


def chances_of(scorer: Scorer, pictures: Degraded) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [n, M] of the meanings [M], as explanations give them."""
    phrases = scorer.phrases
    meanings = np.array(list(dict.fromkeys(phrases.meanings)))
    chances = phrases.probabilities(pictures.embeddings)
    own = np.array(phrases.meanings)
    return np.stack([chances[:, own == meaning].sum(1) for meaning in meanings], 1), meanings
