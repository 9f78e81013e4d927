"""Why a picture scores as it does: the likeliest phrases about it.

In: a picture's embedding x and the model's table of phrases, which `rali.distill.learn_phrases`
makes. Out: phrases of different meanings, the likeliest first. As the student's images were aligned
with texts, a product takes the place of a language model:

    P(phrase) = softmax(vectors · x + offsets)
    P(meaning) = Σ P(its phrases)

The probabilities are calibrated on photographs with one fault or none. Needs numpy only.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from rali.errors import InputError
from rali.files import replace_atomically

from .model_folder import PHRASES_FILE, check_owner, find_file, side_file


@dataclass(frozen=True)
class Reason:
    """A phrase that explains a picture's score.

    Attributes:
        phrase: the likeliest of its meaning, such as "serious blurring of the whole frame".
        meaning: one of `rali.pictures.degrade.DISTORTIONS`, "good", "depth of field", "missed
            focus", or "composition" if the teacher mentioned it.
        probability: 0–1, that this meaning is the right one of all.
    """

    phrase: str
    meaning: str
    probability: float


@dataclass(frozen=True)
class Phrases:
    """The table of P phrases, for embeddings [D].

    Attributes:
        texts, meanings: [P] each.
        vectors: [P, D]. offsets: [P].
        weights_sha256: identifies the student that the table was made for.
    """

    texts: tuple[str, ...]
    meanings: tuple[str, ...]
    vectors: np.ndarray
    offsets: np.ndarray
    weights_sha256: str = ""

    def probabilities(self, embeddings: np.ndarray) -> np.ndarray:
        """[n, P] of embeddings [n, D]; each row sums to 1."""
        logits = embeddings.astype(np.float64) @ self.vectors.T + self.offsets
        raised = np.exp(logits - logits.max(1, keepdims=True))
        return raised / raised.sum(1, keepdims=True)

    def rank(self, embedding: np.ndarray, top: int = 3) -> list[Reason]:
        """The `top` likeliest meanings of an embedding [D], each by its likeliest phrase.

        Raises:
            InputError: `top` is below 1, or the embedding is another model's.
        """
        if top < 1:
            raise InputError(f"top is {top}; give 1 or more.")
        if embedding.shape != self.vectors.shape[1:]:
            raise InputError(
                f"{PHRASES_FILE} belongs to a model with embeddings "
                f"{list(self.vectors.shape[1:])}; this one has {list(embedding.shape)}. Take both "
                "from one run of rali distill."
            )
        chances = self.probabilities(embedding[None])[0]
        nearest: dict[str, int] = {}
        total: dict[str, float] = {}
        for place in np.argsort(-chances, kind="stable").tolist():
            meaning = self.meanings[place]
            nearest.setdefault(meaning, place)
            total[meaning] = total.get(meaning, 0.0) + float(chances[place])
        ranked = sorted(total, key=lambda meaning: -total[meaning])
        return [Reason(self.texts[nearest[m]], m, total[m]) for m in ranked[:top]]


def write_phrases(phrases: Phrases, model: str | Path) -> Path:
    """Write the table into a model folder or beside an ONNX file; returns the file."""
    path = side_file(model, PHRASES_FILE)

    def write(target: Path) -> None:
        with target.open("wb") as file:
            np.savez_compressed(
                file,
                texts=np.array(phrases.texts),
                meanings=np.array(phrases.meanings),
                vectors=phrases.vectors,
                offsets=phrases.offsets,
                weights_sha256=np.array(phrases.weights_sha256),
            )

    replace_atomically(path, write)
    return path


def read_phrases(model: str | Path, weights_sha256: str = "") -> Phrases:
    """A model's table of phrases.

    Args:
        model: "builtin", a model folder, an ONNX file or a Hub id.
        weights_sha256: the model's own, by which another model's table is refused.

    Raises:
        InputError: the model has none, it is another model's, or `rali distill` did not write the
            file.
    """
    path = find_file(model, PHRASES_FILE)
    if path is None:
        raise InputError(
            f"{model} has no {PHRASES_FILE}, which explanations need. Type: rali distill MANIFEST "
            "-o RUN, as when the model was made: only what is missing is made."
        )
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = {field.name: stored[field.name] for field in fields(Phrases)}
        phrases = Phrases(
            texts=tuple(found.pop("texts").tolist()),
            meanings=tuple(found.pop("meanings").tolist()),
            weights_sha256=str(found.pop("weights_sha256")),
            **found,
        )
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        RuntimeError,  # as of an archive that needs a password or an unknown method
        zlib.error,
        zipfile.BadZipFile,
    ) as error:
        raise InputError(f"{path} is not a table of phrases of `rali distill`: {error}.") from error
    _check(phrases, path)
    check_owner(path, phrases.weights_sha256, model, weights_sha256)
    return phrases


def _check(phrases: Phrases, path: Path) -> None:
    count = len(phrases.texts)
    expected = {
        "meanings": (count,),
        "vectors": (count, *phrases.vectors.shape[1:2]),
        "offsets": (count,),
    }
    for name, shape in expected.items():
        if np.shape(getattr(phrases, name)) != shape:
            raise InputError(
                f"{path} is not a table of phrases of `rali distill`: {name} is "
                f"{list(np.shape(getattr(phrases, name)))}, expected {list(shape)}."
            )
    for name in ("vectors", "offsets"):
        held = getattr(phrases, name)
        if not np.issubdtype(held.dtype, np.floating) or not np.isfinite(held).all():
            raise InputError(
                f"{path} is not a table of phrases of `rali distill`: {name} holds what is no "
                "finite number."
            )
