"""Make the table of phrases that explanations come from: the last step of a distillation.

In: the final image encoder, the frozen text tower, photographs and the teacher's rationales. Out:
`rali.scoring.phrases.Phrases`. The alignment has put images beside texts, but it never saw the
faults that the training pictures do not have, and the fit of the encoder to scores has moved it
since. So one linear map is aligned once more, from the images to the frozen texts, with
photographs that are degraded in known ways:

    P(phrase) = softmax((W x + b) · phrase)
    loss = −log Σ P(phrases that are true of the picture) + weight_decay · |W|²

It is InfoNCE from images to texts with several positives, any of which will do (MIL-NCE, Miech et
al., 2020). As texts that mean the same lie together, W carries over to sentences of the teacher's.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rali.data.manifest import Row
from rali.data.rationale_text import EFFECTS
from rali.pictures.degrade import DISTORTIONS, SEVERITY_NAMES, degrade
from rali.pictures.preprocess import Preprocess, shrink
from rali.pictures.read import open_picture
from rali.runs.config import check_numbers
from rali.scoring.phrases import Phrases
from rali.student.encoders import TextTower

NONE, GOOD = "null", "good"  # the distortion that is none, and its meaning
# Meaning → a sentence with a gap, and the phrases that fill it.
FAULTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "blur": ("In detail the image is {}.", ("very blurry", "soft, with little fine detail")),
    "noise": ("Smooth regions show {}.", ("visible grain", "coarse grain")),
    "compression": ("Smooth regions show {}.", ("obvious compression blocks",)),
    "brighten": ("The scene is {}.", ("overexposed", "too bright")),
    "darken": ("The scene is {}.", ("underexposed", "badly underlit")),
    "contrast strengthen": ("The scene has {}.", ("a harsh, hard tonal range",)),
    "contrast weaken": ("The scene has {}.", ("very low contrast", "a flat and hazy look")),
    "saturate strengthen": ("The scene has {}.", ("intensely saturated colours",)),
    "saturate weaken": ("The scene has {}.", ("colours close to grey", "very pale colours")),
}
PRAISE: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("The photograph is {}.", ("excellent", "of very high quality")),
    ("In detail the image is {}.", ("sharp", "crisp and detailed")),
    ("Smooth regions show {}.", ("no visible noise", "no compression blocks")),
    ("The scene is {}.", ("well exposed", "evenly lit")),
    ("The scene has {}.", ("natural colours", "rich colours")),
)
SERIOUS = 4  # the severity that `FAULTS` speak of
# No degradation shows it, so it is said only if the teacher speaks of it by this name.
TOLD: dict[str, tuple[str, tuple[str, ...]]] = {
    "composition": ("The picture has {}.", ("a balanced composition", "an awkward composition")),
}
# With less, good photographs are blamed; with more, slight faults are forgiven.
NONE_WEIGHT = 3.0
FOLDS = 4  # for the temperature
NEAR = 0.9  # cosine from which a sentence of the teacher's says what a phrase says
LONGEST = 80  # characters of such a sentence
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_WORD = re.compile(r"[a-z]+")
_LONG_WORD = re.compile(r"[a-z]{4,}")
_MORE = re.compile(r"\d|,|;|\band\b")  # a score, or a second claim


@dataclass
class PhrasesConfig:
    """How the table is made.

    Attributes:
        photographs: at most so many of the training pictures, the best; 0 makes no table.
        pictures: degraded versions of them in all, of 12 distortions × 5 severities.
        rationales: how many of the teacher's are searched for sentences.
        weight_decay: on the map, for image embeddings of variance 1.
    """

    photographs: int = 400
    pictures: int = 2400
    rationales: int = 500
    weight_decay: float = 3e-4

    def __post_init__(self) -> None:
        check_numbers("phrases.", self, photographs=0, pictures=1, rationales=0, weight_decay=0)


@dataclass(frozen=True)
class Phrase:
    """A phrase of the table.

    Attributes:
        text: as it is shown. meaning: what it shares with others.
        sentence: what is embedded.
        severity: 1–5, where it tells one, else 0.
    """

    text: str
    meaning: str
    sentence: str
    severity: int = 0

    def is_true(self, distortion: str, severity: int) -> bool:
        """Of a picture degraded so; a word for the severity may be off by one."""
        if self.severity and abs(self.severity - severity) > 1:
            return False
        return self.meaning == (GOOD if distortion == NONE else distortion)


@dataclass(frozen=True)
class Degraded:
    """A photograph (its number) in one state, and the student's embedding [D] of it."""

    photograph: int
    distortion: str
    severity: int
    embedding: np.ndarray


def best_photographs(rows: Sequence[Row], count: int) -> list[Path]:
    """Of each content the picture of the least known severity, then of the best score."""
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
    report: Callable[[int, int], None] | None = None,
) -> Phrases | None:
    """The table of a student; None where there are fewer than four photographs.

    Args:
        image: pixels → embeddings [batch, D], as it is after the last training step.
        text: the tower that it was aligned with.
        photographs: with as few faults as can be had; they are degraded in memory.
        rationales: the teacher's. report: called with (photographs done, photographs).
    """
    config = config or PhrasesConfig()
    photographs = photographs[: config.photographs]
    if len(photographs) < FOLDS:
        return None
    each = max(len(DISTORTIONS), round(config.pictures / len(photographs)))
    image.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    pictures: list[Degraded] = []
    for number, path in enumerate(photographs):
        pictures += _degraded(image, preprocess, path, number, each, seed)
        if report:
            report(number + 1, len(photographs))
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
) -> list[Degraded]:
    """One photograph plain and in `count` kinds of degradation, drawn without repetition."""
    full = open_picture(path)
    draw = np.random.default_rng((seed, zlib.crc32(path.name.encode())))
    kinds = [(name, severity) for name in DISTORTIONS for severity in range(1, 6)]
    chosen = draw.choice(len(kinds), min(count, len(kinds)), replace=False)
    states: list[tuple[str, int]] = []
    pixels: list[Tensor] = []
    for name, severity in [(NONE, 0), *(kinds[i] for i in sorted(chosen))]:
        # Flaws lie in pixels, and are not the same where the encoder shrinks or enlarges them.
        plain = shrink(full, shorter=int(preprocess.size * draw.uniform(2 / 3, 3 / 2)))
        picture = degrade(plain, name, severity, int(draw.integers(2**31)))
        if severity and np.array_equal(picture, plain):
            continue  # saturation of a grey photograph
        states.append((name, severity))
        pixels.append(torch.from_numpy(preprocess(picture)))
    embeddings = _embed(image, pixels)
    return [Degraded(number, *state, row) for state, row in zip(states, embeddings, strict=True)]


@torch.inference_mode()
def _embed(image: nn.Module, pixels: list[Tensor], batch_size: int = 16) -> np.ndarray:
    """float64 [n, D] of n pictures [3, S, S]."""
    device = next(image.parameters()).device
    batches = torch.stack(pixels).split(batch_size)
    return torch.cat([image(batch.to(device)).double().cpu() for batch in batches]).numpy()


def own_phrases(rationales: Sequence[str] = ()) -> list[Phrase]:
    """Each distortion at each severity, and what else can be said of a photograph."""
    found = []
    for meaning in DISTORTIONS:
        for severity, how in enumerate(SEVERITY_NAMES):
            for effect in EFFECTS[meaning] if severity else ():
                text = effect.format(how=how)
                sentence = f"The main problem is {text}."
                found.append(Phrase(text.removeprefix("a "), meaning, sentence, severity))
    words = set(_WORD.findall(" ".join(rationales).lower()))
    told = {meaning: phrases for meaning, phrases in TOLD.items() if meaning in words}
    others = [
        *((meaning, SERIOUS, *phrases) for meaning, phrases in FAULTS.items()),
        *((GOOD, 0, *phrases) for phrases in PRAISE),
        *((meaning, 0, *phrases) for meaning, phrases in told.items()),
    ]
    for meaning, severity, sentence, texts in others:
        found += [Phrase(text, meaning, sentence.format(text), severity) for text in texts]
    return found


def teachers_phrases(
    rationales: Sequence[str], phrases: Sequence[Phrase], text: TextTower
) -> list[Phrase]:
    """For each meaning the teacher's sentence that is nearest to one of `phrases`.

    It must be near indeed, and share a word with it: embeddings alone take "fair" for "excellent".
    """
    sentences = dict.fromkeys(
        sentence
        for rationale in rationales
        for sentence in _SENTENCE_END.split(rationale.strip())
        if len(sentence) <= LONGEST and not _MORE.search(sentence)
    )
    new = [sentence for sentence in sentences if sentence not in {p.sentence for p in phrases}]
    if not new:
        return []
    own = text.encode([phrase.sentence for phrase in phrases]).double()
    there = nn.functional.normalize(text.encode(new).double() - own.mean(0), dim=1)
    cosines, closest = (there @ nn.functional.normalize(own - own.mean(0), dim=1).T).max(1)
    best: dict[str, Phrase] = {}
    for place in cosines.argsort(descending=True, stable=True).tolist():
        sentence, like = new[place], phrases[int(closest[place])]
        shared = {*_LONG_WORD.findall(sentence.lower())} & {*_LONG_WORD.findall(like.text)}
        if cosines[place] >= NEAR and shared:
            phrase = Phrase(sentence.rstrip(".!"), like.meaning, sentence, like.severity)
            best.setdefault(like.meaning, phrase)
    return list(best.values())


def align_phrases(
    phrases: Sequence[Phrase],
    pictures: Sequence[Degraded],
    text: TextTower,
    weight_decay: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The phrases as vectors [P, D] and offsets [P], float32, of a softmax over them.

    They are scaled so that the probabilities of photographs left out were the most likely (Guo et
    al., 2017). The distortions count alike, and none counts `NONE_WEIGHT` times as much.
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
    for out in range(FOLDS):
        known = fold != out
        vectors, offsets = _align(inputs[known], words, right[known], weights[known], weight_decay)
        logits[~known] = inputs[~known] @ vectors.T + offsets
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
    """Weighted mean of −log of the probability of all that is right; logits, right: [n, P]."""
    said = logits.masked_fill(~right, -torch.inf).logsumexp(1) - logits.logsumexp(1)
    return -(weights * said).sum() / weights.sum()


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
