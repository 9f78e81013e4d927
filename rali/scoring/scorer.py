"""Pictures in, scores out: the student as an ONNX file on numpy, Pillow and onnxruntime alone.

A score lies in the model's `score_range` (1–5, higher is better). The ONNX file describes its own
preprocessing in its metadata, so scoring needs no other file.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from rali.errors import InputError, PictureError, shortened
from rali.pictures.entry import key_of
from rali.pictures.read import MAX_PIXELS, Source, is_many, is_source, open_picture, pictures_in

from .model_folder import BUILTIN, WEIGHTS_SHA256, check_weights, find_model
from .session import (
    Engine,
    Provider,
    available_cores,
    open_session,
    read_metadata,
    read_preprocess,
)

if TYPE_CHECKING:
    from .heatmap import Heatmap
    from .intervals import Interval
    from .phrases import Phrases, Reason


@dataclass(frozen=True)
class Result:
    """One row of `Scorer.score_many`: a score, or the reason why there is none.

    Attributes:
        source: what was given.
        low, high: between which people's score lies, if an interval was asked for.
        why: the likeliest phrases about the picture, if they were asked for.
        embedding: the encoder's output before PCA, float32 [D], if it was asked for.
    """

    source: Any
    score: float | None
    error: str | None
    low: float | None = None
    high: float | None = None
    why: tuple[Reason, ...] = ()
    embedding: np.ndarray | None = field(default=None, compare=False, repr=False)


class Scorer:
    """Scores the quality of pictures, from 1 (bad) to 5 (excellent).

        Scorer()("photo.jpg")                  # 3.87
        Scorer()(["a.jpg", "b.png"])           # array([3.87, 2.14])
        Scorer()("photos/")                    # {"photos/a.jpg": 3.87, …}
        Scorer("runs/quickstart/model")(array) # uint8 [H, W, 3]

    It may be used by several threads, after a fork, and in processes that it is pickled to.

    Args:
        model: "builtin" (comes with rali), a model folder, an `.onnx` file that `rali export`
            wrote, or a Hugging Face Hub id ("owner/name"; `HF_HUB_OFFLINE` is honoured).
        precision: which of a model's files: "fp32", "fp16", "int8" or "int8-dynamic".
        batch_size: pictures per run of the model; by default one on the processor, where each
            core scores its own, and 8 elsewhere. It changes speed and memory, not the scores
            (floating-point sums may differ in their last digits). A batch that is too large for
            the memory is halved, with a warning.
        providers: onnxruntime execution providers, by name or as (name, options); the processor by
            default. `docs/export.md` says which files suit them.
        threads: cores to use; all by default.
        max_pixels: a file that announces more is not decoded.

    Raises:
        InputError: there is no such model, rali did not write it, or a provider cannot be started.
    """

    def __init__(
        self,
        model: str | Path = "builtin",
        *,
        precision: str = "fp32",
        batch_size: int | None = None,
        providers: Sequence[Provider] | None = None,
        threads: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        counts = {"batch_size": batch_size, "threads": threads, "max_pixels": max_pixels}
        for name, value in counts.items():
            if value is not None and value < 1:
                raise InputError(f"{name} must be 1 or more, got {value}.")
        self.model = model
        here = model != BUILTIN and Path(model).exists()  # found from other folders too
        self._source = str(Path(model).resolve()) if here else model
        self._options: dict[str, Any] = {
            "precision": precision,
            "batch_size": batch_size,
            "providers": providers,
            "threads": threads,
            "max_pixels": max_pixels,
        }
        self.path = find_model(model, precision)
        self.threads = threads or available_cores()
        self.max_pixels = max_pixels
        self._engine = Engine(
            partial(open_session, self.path, providers, self.threads), self.threads
        )
        self.batch_size = batch_size or (1 if self._engine.on_processor else 8)
        self.metadata: dict[str, Any] = read_metadata(self._engine.here().session, self.path)
        if self.metadata.get("one_by_one"):
            self._engine.batches.at_most = 1
        self.preprocess = read_preprocess(self.metadata)
        self.weights_sha256 = str(self.metadata.get(WEIGHTS_SHA256, ""))
        check_weights(self.path, self.weights_sha256)
        low, high = self.metadata["score_range"]
        self.score_range: tuple[float, float] = (float(low), float(high))

    def __reduce__(self) -> Any:
        """A pickle holds no weights: who reads it opens the model, which must be there."""
        return partial(Scorer, self._source, **self._options), ()

    def __repr__(self) -> str:
        """The call that would make it, without what is as by default."""
        defaults: Any = Scorer.__init__.__kwdefaults__
        given = [f"{k}={v!r}" for k, v in self._options.items() if v != defaults[k]]
        return f"Scorer({', '.join([repr(str(self.model)), *given])})"

    @overload
    def __call__(self, pictures: list[Any] | tuple[Any, ...]) -> np.ndarray: ...
    @overload
    def __call__(self, pictures: Source) -> Any: ...

    def __call__(self, pictures: Any) -> Any:
        """One picture → float; a list or uint8 [n, H, W, C] → float64 [n]; a folder → dict.

        A generator or any other iterable of pictures is as good as a list. A folder's dict is
        {path: score} of the pictures directly inside, in natural order. An archive (.zip, .tar) or
        a table (.csv, .jsonl, .parquet) gives {key: score}, with the keys of `find_entries`.

        Raises:
            PictureError: a picture cannot be read; the message names it. `score_many` continues
                instead.
        """
        if is_many(pictures):
            return self._all(pictures)
        if is_source(pictures):
            found = list(pictures_in(pictures))
            return dict(zip(map(key_of, found), self._all(found).tolist(), strict=True))
        return float(self._all([pictures])[0])

    def score_many(
        self,
        sources: Any,
        *,
        interval: float | None = None,
        explain: bool = False,
        embed: bool = False,
    ) -> Iterator[Result]:
        """One `Result` per source, in order; a picture that cannot be read is a row with `error`.

        Each core decodes pictures and runs the model on them. At most a few batches per core are in
        memory, however many sources there are.

        Args:
            sources: pictures in a list, a generator or any other iterable; a folder, an archive or
                a table; one picture.
            interval: the probability, such as 0.9, with which people's score lies between `low`
                and `high`.
            explain: fill `why` with the three likeliest phrases.
            embed: fill `embedding`.

        Raises:
            InputError: a folder without pictures, a level that the model's interval does not reach,
                or a model without interval or phrases.
        """
        if interval is not None:
            self.interval.radius(interval)  # refuses a wrong level before the first picture
        phrases = self.phrases if explain else None
        return self._results(pictures_in(sources), interval, phrases, embed)

    def _results(
        self, sources: Iterable[Any], level: float | None, phrases: Phrases | None, embed: bool
    ) -> Iterator[Result]:
        for source, output, error in self._run(sources):
            score = None if output is None else float(output[0])
            if score is not None and not np.isfinite(score):
                score, error = None, f"The model gave {output[0]}, which is no score."
            if score is None:
                yield Result(source, None, error)
                continue
            low, high = (None, None) if level is None else self.interval.around(score, level)
            why = () if phrases is None else tuple(phrases.rank(output[1]))
            yield Result(source, score, None, low, high, why, output[1] if embed else None)

    def embed(self, pictures: Any) -> np.ndarray:
        """The encoder's output before PCA, not normalised: float32 [n, D] (one picture: n = 1).

        Raises:
            PictureError: a picture cannot be read; the message names it.
        """
        rows = []
        for index, (source, output, error) in enumerate(self._run(pictures_in(pictures))):
            if output is None:
                raise PictureError(_named(index, source, error))
            rows.append(output[1])
        return np.stack(rows) if rows else np.zeros((0, self._width()), np.float32)

    def run(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The model itself: pixels [n, 3, S, S] → scores [n] and embeddings [n, D], all float32.

        The pixels are as `preprocess` returns them. A file whose arithmetic depends on the batch
        (dynamic 8-bit integers) runs them one by one.
        """
        return self._engine.run(pixels)

    def buffer(self) -> np.ndarray:
        """The calling thread's memory for a batch of pixels: float32 [batch_size, 3, S, S]."""
        size = self.preprocess.size
        return self._engine.buffer((self.batch_size, 3, size, size))

    def explain(self, picture: Source, top: int = 3) -> list[Reason]:
        """Why a picture scores as it does: the likeliest phrases about it, the likeliest first.

            Scorer().explain("photo.jpg")[0]  # Reason("serious blurring of the whole frame", …)

        Args:
            top: at most as many phrases, each with another meaning.

        Raises:
            PictureError: the picture cannot be read.
            InputError: the model has no table of phrases, or another model's.
        """
        return self.phrases.rank(self.embed(picture)[0], top)

    @cached_property
    def phrases(self) -> Phrases:
        """The model's table of phrases, from which `explain` chooses.

        Raises:
            InputError: the model has none, or another model's.
        """
        from .phrases import read_phrases

        return read_phrases(self.model, self.weights_sha256)

    @cached_property
    def interval(self) -> Interval:
        """The model's calibrated interval: `scorer.interval.around(score, 0.9)`.

        Raises:
            InputError: the model has none, or another model's.
        """
        from .intervals import read_interval

        return read_interval(self.model, self.weights_sha256)

    def map(self, picture: Source) -> Heatmap:
        """Where a picture is good and where it is bad: scores of overlapping windows.

            Scorer().map("photo.jpg").overlay().save("map.png")

        Raises:
            PictureError: the picture cannot be read.
        """
        from .heatmap import Heatmap, windows

        rgb = open_picture(picture, max_pixels=self.max_pixels)
        centres, inputs = windows(rgb, self.preprocess)
        scores: list[float] = []
        while batch := list(islice(inputs, self.batch_size)):
            scores += self.run(np.stack(batch))[0].tolist()
        grid = np.array(scores).reshape(len(centres[0]), len(centres[1]))
        return Heatmap(grid, centres, rgb, self.score_range)

    def _all(self, sources: Iterable[Any]) -> np.ndarray:
        scores: list[float] = []
        for index, result in enumerate(self.score_many(sources)):
            if result.score is None:
                raise PictureError(_named(index, result.source, result.error))
            scores.append(result.score)
        return np.array(scores, dtype=np.float64)

    def _width(self) -> int:
        outputs = self._engine.here().session.get_outputs()
        return int(next(each.shape[1] for each in outputs if each.name == "embedding"))

    def _run(self, sources: Iterable[Any]) -> Iterator[tuple[Any, Any, str | None]]:
        """(source, (score, embedding [D]) or None, error or None), in order."""
        if isinstance(sources, Sequence | np.ndarray) and len(sources) == 1:
            yield from self._batch([sources[0]])
            return
        remaining, pool = iter(sources), self._engine.here().pool
        waiting: deque[Future[list[tuple[Any, Any, str | None]]]] = deque()
        try:
            while True:
                while len(waiting) < 2 * self.threads:
                    batch = list(islice(remaining, self.batch_size))
                    if not batch:
                        break
                    waiting.append(pool.submit(self._batch, batch))
                if not waiting:
                    return
                yield from waiting.popleft().result()
        finally:  # also when the caller stops early
            wait([future for future in waiting if not future.cancel()])

    def _prepare(self, source: Any, out: np.ndarray) -> str | None:
        """Write pixels into `out` (float32 [3, S, S]); returns the reason if there are none."""
        try:
            self.preprocess(open_picture(source, max_pixels=self.max_pixels), out)
        except PictureError as error:
            return str(error)
        except MemoryError:
            return "There is not enough memory to resize the picture."
        return None

    def _batch(self, sources: list[Any]) -> list[tuple[Any, Any, str | None]]:
        pixels, ready, errors = self.buffer(), 0, list[str | None]()
        for source in sources:
            errors.append(self._prepare(source, pixels[ready]))
            ready += errors[-1] is None
        try:
            scored = self.run(pixels[:ready]) if ready else ((), ())
            outputs: Iterator[Any] = zip(*scored, strict=True)
        except MemoryError as error:
            errors, outputs = [why or str(error) for why in errors], iter(())
        return [
            (source, next(outputs) if error is None else None, error)
            for source, error in zip(sources, errors, strict=True)
        ]


def _named(index: int, source: Any, error: str | None) -> str:
    key = key_of(source)
    name = shortened(key) if isinstance(key, str) else f"Picture number {index + 1}"
    return f"{name}: {error}"
