"""A head: scores read off embeddings that another program made, with NumPy alone.

In: embeddings [n, D] of one encoder. Out: scores [n] by the projection and the bases that
`rali distill --features` fitted (RALI equation 3). Its folder holds `config.json`, `head.npz` and
`interval.json`; docs/formats.md describes them.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rali.errors import InputError
from rali.files import image_sha256, read_json, replace_atomically, write_text
from rali.pictures.entry import Entry
from rali.version import __version__

from .intervals import Interval, read_interval
from .model_folder import CONFIG_FILE, HEAD_FILE, INTERVAL_FILE, WEIGHTS_SHA256, find_file

if TYPE_CHECKING:
    from .scorer import Result

KIND = "rali-head"
_ROWS = 4096  # embeddings that are scored at once
_AGAIN = "Make the folder again with the same `rali distill --features`."


@dataclass(frozen=True)
class Head:
    """What scores embeddings; all arrays are float32.

    Attributes:
        mean, scale: [D], what embeddings are centred by and divided by.
        components: [M, D], the projection.
        basis_vectors: [K, M]. basis_scores: [K].
    """

    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    basis_vectors: np.ndarray
    basis_scores: np.ndarray

    def score(self, embeddings: np.ndarray, temperature: float) -> np.ndarray:
        """Scores [n] of embeddings [n, D]: softmax(cos⟨x, μ⟩ / τ) · f after the projection."""
        projected = ((embeddings - self.mean) / self.scale) @ self.components.T
        logits = _unit(projected) @ _unit(self.basis_vectors).T / np.float32(temperature)
        weights = np.exp(logits - logits.max(1, keepdims=True))
        return (weights @ self.basis_scores) / weights.sum(1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


class VectorScorer:
    """Scores embeddings of one encoder, from 1 (bad) to 5 (excellent).

        scorer = VectorScorer("runs/head/model")
        scores = scorer(vectors)                 # [n, D] → float64 [n]
        scorer.interval.around(scores[0], 0.9)   # (2.9, 4.1)

    Args:
        model: a folder that `rali distill --features` wrote.

    Attributes:
        features: the encoder whose embeddings it scores, as it was named for the distillation; may
            be "".
        width: D.

    Raises:
        InputError: there is no such folder, or its files are damaged or of two heads.
    """

    max_pixels = None  # as of a `Scorer`; there are no pictures

    def __init__(self, model: str | Path) -> None:
        self.model = model
        self.path = Path(model) / HEAD_FILE
        if not self.path.is_file():
            raise InputError(
                f"{model} is not the folder of a head: it has no {HEAD_FILE}. Type: rali distill "
                "--features embeddings.parquet manifest.csv -o RUN, and give RUN/model."
            )
        config = Path(model) / CONFIG_FILE
        self.metadata = read_json(config, _AGAIN)
        self.weights_sha256 = image_sha256(self.path)
        if self.metadata.get("model_type") != KIND:
            raise InputError(f"{config} is not that of a head: expected model_type {KIND!r}.")
        if self.metadata.get(WEIGHTS_SHA256) != self.weights_sha256:
            raise InputError(f"{self.path} and {config} are of two heads. {_AGAIN}")
        temperature = self.metadata.get("temperature")
        if not isinstance(temperature, int | float) or not 0 < temperature < 1e9:
            raise InputError(f"{config} needs a temperature, a number above 0. {_AGAIN}")
        self.temperature = float(temperature)
        self.features = str(self.metadata.get("features") or "")
        self.head = _read(self.path)
        self.width = len(self.head.mean)

    def __repr__(self) -> str:
        return f"VectorScorer({str(self.model)!r})"

    def __call__(self, vectors: npt.ArrayLike) -> np.ndarray:
        """Scores float64 [n] of embeddings [n, D], as the encoder gives them.

        Raises:
            InputError: another shape than [n, D], or a row that holds NaN or infinity.
        """
        rows = np.asarray(vectors)
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise InputError(f"Embeddings are {list(rows.shape)}; {self._expected()}.")
        if not np.issubdtype(rows.dtype, np.floating):
            raise InputError(f"Embeddings are {rows.dtype}; expected floats.")
        scores = np.empty(len(rows))
        for start in range(0, len(rows), _ROWS):
            some = rows[start : start + _ROWS].astype(np.float32)
            if (bad := np.flatnonzero(~np.isfinite(some).all(1))).size:
                raise InputError(f"Row {start + bad[0]} of the embeddings holds NaN or infinity.")
            scores[start : start + _ROWS] = self.head.score(some, self.temperature)
        return scores

    def score_many(
        self,
        entries: Iterable[Entry],
        *,
        interval: float | None = None,
        explain: bool = False,
        embed: bool = False,
    ) -> Iterator[Result]:
        """One `Result` per entry, in order, as `Scorer.score_many` gives them.

        Args:
            entries: their pictures are vectors, as of `rali.data.features`.
            interval: the probability with which people's score lies between `low` and `high`.
            explain, embed: false; there is no table of phrases, and the embeddings are there.

        Raises:
            InputError: a level that the interval does not reach, or no interval.
        """
        from .scorer import Result

        if interval is not None:
            self.interval.radius(interval)
        remaining = iter(entries)
        while some := list(islice(remaining, _ROWS)):
            errors = [self._error(entry.picture) for entry in some]
            good = [entry.picture for entry, why in zip(some, errors, strict=True) if why is None]
            scores = iter(self(np.stack(good)).tolist() if good else ())
            for entry, why in zip(some, errors, strict=True):
                if why is not None:
                    yield Result(entry, None, why)
                    continue
                score = next(scores)
                low, high = (
                    (None, None) if interval is None else self.interval.around(score, interval)
                )
                yield Result(entry, score, None, low, high)

    def check(self, features: str, width: int) -> None:
        """Refuse embeddings of another encoder before the first is scored.

        Args:
            features: what made them; "" where that is not known. width: their numbers.

        Raises:
            InputError: another name than this head's, or another width.
        """
        if features and self.features and features != self.features:
            raise InputError(f"These are embeddings of {features}; {self._expected()}.")
        if width != self.width:
            raise InputError(f"These embeddings have {width} numbers; {self._expected()}.")

    @cached_property
    def interval(self) -> Interval:
        """The interval that was measured on the split `val` of the distillation.

        Raises:
            InputError: there is none, or another head's.
        """
        if find_file(self.model, INTERVAL_FILE) is None:
            raise InputError(
                f"{self.model} has no {INTERVAL_FILE}, which intervals need. A head's is measured "
                "when it is distilled, on 20 or more pictures of split val."
            )
        return read_interval(self.model, self.weights_sha256)

    def describe(self) -> str:
        """What it scores, for people: "embeddings of clip-vit-l-14, 768 numbers"."""
        return f"embeddings of {self.features or 'an encoder without a name'}, {self.width} numbers"

    def _expected(self) -> str:
        of = f" of {self.features}" if self.features else ""
        return f"{self.model} scores embeddings [n, {self.width}]{of}"

    def _error(self, vector: Any) -> str | None:
        if not isinstance(vector, np.ndarray):
            return str(getattr(vector, "reason", "There is no embedding."))
        if len(vector) != self.width:
            return f"The embedding has {len(vector)} numbers; {self._expected()}."
        return None


def write_head(
    head: Head,
    folder: Path,
    *,
    temperature: float,
    features: str = "",
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write a head's folder, without an interval.

    Args:
        features: the encoder whose embeddings it scores.
        training: what it was fitted on and how.
    """

    def write(target: Path) -> None:
        with target.open("wb") as file:
            arrays: dict[str, Any] = {k: np.asarray(v, np.float32) for k, v in vars(head).items()}
            np.savez(file, **arrays)

    (folder / INTERVAL_FILE).unlink(missing_ok=True)  # another head's
    replace_atomically(folder / HEAD_FILE, write, durable=True)
    dim, width = head.components.shape
    config = {
        "model_type": KIND,
        "features": features,
        "embed_dim": width,
        "pca_dim": dim,
        "bases": len(head.basis_scores),
        "temperature": temperature,
        "score_range": [1.0, 5.0],
        "training": dict(training or {}),
        "rali_version": __version__,
        WEIGHTS_SHA256: image_sha256(folder / HEAD_FILE),
    }
    write_text(folder / CONFIG_FILE, json.dumps(config, indent=2) + "\n", durable=True)


def _read(path: Path) -> Head:
    try:
        with np.load(path, allow_pickle=False) as stored:
            head = Head(**{field.name: stored[field.name] for field in fields(Head)})
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile,
            NotImplementedError) as error:  # fmt: skip
        raise InputError(f"{path} is damaged ({error}). {_AGAIN}") from error
    dim, width = head.components.shape if head.components.ndim == 2 else (0, 0)
    count = len(head.basis_scores) if head.basis_scores.ndim == 1 else 0
    shapes = {"mean": (width,), "scale": (width,), "components": (dim, width)}
    shapes |= {"basis_vectors": (count, dim), "basis_scores": (count,)}
    for name, shape in shapes.items():
        array = getattr(head, name)
        if array.shape != shape or 0 in shape or array.dtype != np.float32:
            raise InputError(f"{path} is damaged: {name} is {array.dtype} {list(array.shape)}.")
        if not np.isfinite(array).all() or (name == "scale" and not (array > 0).all()):
            raise InputError(f"{path} is damaged: {name} holds what it cannot. {_AGAIN}")
    return head
