"""Make the table of phrases that explanations come from: the last step of a distillation.

In: the final image encoder, the frozen text tower, photographs and the teacher's rationales. Out:
`rali.scoring.phrases.Phrases`. The alignment has put images beside texts, but it never saw the
faults that the training pictures do not have, and the fit of the encoder to scores has moved it
since. So one linear map is aligned once more, from the images to the frozen texts, with
photographs that are degraded, or in focus in one place alone, in known ways:

    P(phrase) = softmax((W x + b) · phrase)
    loss = −log Σ P(phrases that are true of the picture) + weight_decay · |W|²

It is InfoNCE from images to texts with several positives, any of which will do (MIL-NCE, Miech et
al., 2020). As texts of one meaning lie together, W also fits sentences of the teacher's.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rali.data.manifest import Row
from rali.pictures.degrade import DISTORTIONS, KINDS, degraded_versions
from rali.pictures.focus import focus
from rali.pictures.preprocess import Preprocess, shrink
from rali.pictures.read import open_picture
from rali.runs.config import check_numbers
from rali.runs.progress import Progress, silent
from rali.scoring.phrases import Phrases
from rali.student.encoders import embed_batches
from rali.student.towers import TextTower

from .phrase_list import FOCUS, NONE, Phrase, own_phrases, teachers_phrases

# As much as all faults together, as most photographs have none. With less, good photographs are
# blamed; with more, slight faults are forgiven.
NONE_WEIGHT = float(len(DISTORTIONS))
FOLDS = 4  # of the photographs, to calibrate the temperature
BATCH = 16  # pictures per pass of the encoder


@dataclass
class PhrasesConfig:
    """How the table is made.

    Attributes:
        photographs: at most this many of the best training pictures are degraded; 0 makes no
            table.
        pictures: degraded versions of them in all, of 12 distortions × 5 severities.
        rationales: how many of the teacher's rationales are searched for sentences.
        weight_decay: weight decay of the linear map, for image embeddings of variance 1.
    """

    photographs: int = 400
    pictures: int = 2400
    rationales: int = 500
    weight_decay: float = 3e-4

    def __post_init__(self) -> None:
        check_numbers("phrases.", self, photographs=0, pictures=1, rationales=0, weight_decay=0)


@dataclass(frozen=True)
class Example:
    """A photograph (its number) with one degradation, and the student's embedding [D] of it."""

    photograph: int
    distortion: str
    severity: int
    embedding: np.ndarray


def best_photographs(rows: Sequence[Row], count: int) -> list[Path]:
    """For each content the picture of the least severity, then of the best score; in that order."""
    scored = [row for row in rows if row.score is not None]
    best: dict[tuple[str, str], Path] = {}
    for row in sorted(scored, key=lambda row: (row.severity or 0, -(row.score or 0))):
        best.setdefault((row.dataset, row.content or str(row.image)), row.image)
    return list(best.values())[:count]


def build_phrases(
    image: nn.Module,
    text: TextTower,
    preprocess: Preprocess,
    photographs: Sequence[Path],
    rationales: Sequence[str] = (),
    config: PhrasesConfig | None = None,
    *,
    seed: int = 0,
    weights_sha256: str = "",
    progress: Progress = silent,
) -> Phrases | None:
    """The table of a student; None where there are fewer than four photographs.

    Args:
        image: pixels → embeddings [batch, D], as it is after the last training step.
        text: the tower that it was aligned with.
        photographs: those with the fewest faults; they are degraded in memory.
        rationales: the teacher's.
    """
    config = config or PhrasesConfig()
    photographs = photographs[: config.photographs]
    if len(photographs) < FOLDS:
        return None
    each = max(len(DISTORTIONS), round(config.pictures / len(photographs)))
    image.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    pictures: list[Example] = []
    for number, path in enumerate(photographs):
        pictures += _degraded(image, preprocess, path, number, each, seed)
        progress("phrases", number + 1, len(photographs))
    image.cpu()
    phrases = own_phrases(rationales)
    phrases += teachers_phrases(rationales[: config.rationales], phrases, text)
    vectors, offsets = align_phrases(phrases, pictures, text, config.weight_decay)
    return Phrases(
        texts=tuple(phrase.text for phrase in phrases),
        meanings=tuple(phrase.meaning for phrase in phrases),
        vectors=vectors,
        offsets=offsets,
        weights_sha256=weights_sha256,
    )


def _degraded(
    image: nn.Module, preprocess: Preprocess, path: Path, number: int, count: int, seed: int
) -> list[Example]:
    """One photograph plain, in each state of focus, and in `count` degradations, all different."""
    full = open_picture(path)
    draw = np.random.default_rng((seed, zlib.crc32(path.name.encode())))
    chosen = draw.choice(len(KINDS), min(count, len(KINDS)), replace=False)
    states: list[tuple[str, int]] = []
    pixels: list[Tensor] = []

    def resized(rgb: np.ndarray) -> np.ndarray:
        return shrink(rgb, shorter=int(preprocess.size * draw.uniform(2 / 3, 3 / 2)))

    for state in FOCUS:
        states.append((state, 0))
        pixels.append(torch.from_numpy(preprocess(focus(resized(full), state, draw))))
    for name, severity, picture in degraded_versions(
        full,
        [(NONE, 0), *(KINDS[place] for place in sorted(chosen))],
        seed=lambda *_: int(draw.integers(2**31)),
        # Flaws lie in pixels, and are not the same where the encoder shrinks or enlarges them.
        prepare=resized,
    ):
        states.append((name, severity))
        pixels.append(torch.from_numpy(preprocess(picture)))
    embedded = embed_batches(image, torch.stack(pixels).split(BATCH), len(pixels))
    embeddings = torch.cat([embedding.double().cpu() for embedding in embedded]).numpy()
    return [Example(number, *state, row) for state, row in zip(states, embeddings, strict=True)]


def align_phrases(
    phrases: Sequence[Phrase],
    pictures: Sequence[Example],
    text: TextTower,
    weight_decay: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The phrases as vectors [P, D] and offsets [P], float32, of a softmax over them.

    They are scaled by the temperature that suits photographs held out (Guo et al., 2017). All
    distortions weigh alike; the photographs themselves weigh `NONE_WEIGHT` times as much.
    """
    words = text.encode([phrase.sentence for phrase in phrases]).double()
    words = nn.functional.normalize(words - words.mean(0), dim=1)
    inputs = torch.from_numpy(np.stack([picture.embedding for picture in pictures]))
    centre, scale = inputs.mean(0), inputs.std(0).clamp_min(1e-6)
    inputs = (inputs - centre) / scale
    right = torch.tensor(
        [[phrase.is_true(p.distortion, p.severity) for phrase in phrases] for p in pictures]
    )
    counts = Counter(picture.distortion for picture in pictures)
    weights = torch.tensor(
        [(NONE_WEIGHT if p.distortion == NONE else 1.0) / counts[p.distortion] for p in pictures],
        dtype=torch.double,
    )
    fold = torch.tensor([picture.photograph % FOLDS for picture in pictures])
    logits = torch.empty(right.shape, dtype=torch.double)
    for held_out in range(FOLDS):
        train = fold != held_out
        vectors, offsets = _align(inputs[train], words, right[train], weights[train], weight_decay)
        logits[~train] = inputs[~train] @ vectors.T + offsets
    factor = _sharpness(logits, right, weights)
    vectors, offsets = _align(inputs, words, right, weights, weight_decay)
    vectors, offsets = factor * vectors / scale, factor * offsets
    return vectors.float().numpy(), (offsets - vectors @ centre).float().numpy()


def _align(
    inputs: Tensor, words: Tensor, right: Tensor, weights: Tensor, weight_decay: float
) -> tuple[Tensor, Tensor]:
    """The words [P, T] as vectors [P, D] and offsets [P] for inputs [n, D]."""
    mapped = torch.zeros(inputs.shape[1], words.shape[1], dtype=torch.double, requires_grad=True)
    bias = torch.zeros(words.shape[1], dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([mapped, bias], max_iter=60, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimizer.zero_grad()
        logits = inputs @ (mapped @ words.T) + bias @ words.T
        loss = _loss(logits, right, weights) + weight_decay * mapped.square().sum()
        loss.backward()
        return loss

    optimizer.step(step)
    return (words @ mapped.T).detach(), (words @ bias).detach()


def _loss(logits: Tensor, right: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of −log P(all phrases that are right); logits, right: [n, P]."""
    log_chance = logits.masked_fill(~right, -torch.inf).logsumexp(1) - logits.logsumexp(1)
    return -(weights * log_chance).sum() / weights.sum()


def _sharpness(logits: Tensor, right: Tensor, weights: Tensor) -> float:
    """The factor, one over the temperature, with which the logits have the least loss."""
    logarithm = torch.zeros((), dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([logarithm], max_iter=50, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = _loss(logits * logarithm.exp(), right, weights)
        loss.backward()
        return loss

    optimizer.step(step)
    return float(logarithm.detach().exp())
