"""What can be evaluated: anything that gives pictures a score.

A `rali.Scorer`, a student in torch, a teacher, a metric of pyiqa and a CSV file of predictions are
all a `Predictor`, and so is an object of your own:

    from rali.evaluation.evaluate import evaluate
    from rali.pictures.read import open_picture
    from rali.scoring.scorer import Result

    class Brightness:
        def score_many(self, sources):
            for source in sources:
                yield Result(source, 1 + 4 * open_picture(source).mean() / 255, None)

    evaluation, scores = evaluate(Brightness(), ["manifest.csv"])
    print(evaluation.average["srcc"], scores)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rali.data.matching import rows_of
from rali.data.tables import number_in, read_csv
from rali.errors import InputError, PictureError
from rali.pictures.paths import absolute, find_path
from rali.pictures.read import open_picture
from rali.scoring.model_folder import is_unexported
from rali.scoring.scorer import Result, Scorer

if TYPE_CHECKING:
    from rali.student.student import Student


class Predictor(Protocol):
    """What `evaluate` and `predict` take.

    `score_many` takes paths of pictures and yields one `Result` for each, in the same order. A
    higher score is a better picture. A picture that gets no score is a `Result` with an `error`.
    """

    def score_many(self, sources: Sequence[Path], /) -> Iterable[Result]: ...


def find_predictor(model: str | Path | Predictor, batch_size: int = 8) -> Predictor:
    """The predictor that `model` means.

    Args:
        model: "builtin", a model folder, an ONNX file, a Hub id, a CSV file of predictions,
            "pyiqa:METRIC", or a predictor, which is returned as it is. A model folder without an
            ONNX file runs in torch, on a GPU where there is one.
        batch_size: pictures per forward pass.

    Raises:
        InputError: there is no such model or metric, or the CSV file holds no predictions.
    """
    if not isinstance(model, str | Path):
        return model
    if _is_pyiqa(model):
        return PyiqaMetric(str(model).partition(":")[2])
    if str(model).lower().endswith(".csv"):
        return CsvPredictor(model)
    if is_unexported(model):
        import torch

        from rali.student.student import Student

        device = "cuda" if torch.cuda.is_available() else "cpu"
        return StudentPredictor(Student.from_pretrained(model).to(device), batch_size)
    return Scorer(model, batch_size=batch_size)


def has_onnx(model: str | Path) -> bool:
    """Whether `find_predictor` would make a `Scorer` of this."""
    file = str(model).lower().endswith(".csv")
    return not (file or _is_pyiqa(model) or is_unexported(model))


def _is_pyiqa(model: str | Path) -> bool:
    kind, _, metric = str(model).partition(":")
    return kind == "pyiqa" and bool(metric)


class StudentPredictor:
    """A student in torch, for models that were not exported.

    Args:
        student: on any device.
        batch_size: pictures per forward pass.
    """

    def __init__(self, student: Student, batch_size: int = 8) -> None:
        self.student, self.batch_size = student, batch_size

    @property
    def weights_sha256(self) -> str:
        from rali.student.student import weights_sha256

        return weights_sha256(self.student)

    def score_many(self, sources: Sequence[Path]) -> Iterator[Result]:
        for start in range(0, len(sources), self.batch_size):
            batch = sources[start : start + self.batch_size]
            pixels: list[np.ndarray] = []
            errors: list[str | None] = []
            for source in batch:
                try:
                    pixels.append(open_picture(source))
                    errors.append(None)
                except PictureError as error:
                    errors.append(str(error))
            scores = iter(self.student.score(pixels, self.batch_size).tolist())
            for source, reason in zip(batch, errors, strict=True):
                yield Result(source, None if reason else next(scores), reason)


class CsvPredictor:
    """Predictions that something else made, from a CSV file such as `rali score` writes.

    `rali.data.matching` says which row means which picture.

    Args:
        path: a file with the columns `image` and `predicted` (or `score`). An empty prediction is a
            picture without a score, for which the column `error` may say why.

    Raises:
        InputError: the columns are not there, a prediction is not a number, or a picture is there
            twice.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        header, records = read_csv(self.path)
        column = next((name for name in ("predicted", "score") if name in header), None)
        if "image" not in header or column is None:
            raise InputError(
                f"{path} has the columns {', '.join(header) or 'none'}; predictions need `image` "
                "and `predicted` (or `score`)."
            )
        self._rows: dict[Path, tuple[str, float | None, str | None]] = {}
        lines: dict[Path, int] = {}
        for line, record in records:
            image, text = record.get("image") or "", (record.get(column) or "").strip()
            value = number_in(text)
            if value is None and text:
                raise InputError(
                    f"{path}, row {line}, column {column!r}: {text!r} is not a number."
                )
            place = find_path(image, self.path.parent)
            if lines.setdefault(place, line) != line:
                raise InputError(
                    f"{path}, row {line}: {image} is already in row {lines[place]}; keep one."
                )
            error = None if text else record.get("error") or f"no prediction in {path}, row {line}"
            self._rows[place] = image, value, error

    def score_many(self, sources: Sequence[Path]) -> Iterator[Result]:
        stored = {place: image for place, (image, _, _) in self._rows.items()}
        rows = rows_of([absolute(source, Path()) for source in sources], stored)
        for source in sources:
            row = rows.get(absolute(source, Path()))
            if row is None:
                yield Result(source, None, f"not in {self.path}, or not in one row alone")
            else:
                yield Result(source, *self._rows[row][1:])


class PyiqaMetric:
    """A metric of pyiqa. Where lower is better its sign is turned, so that ranks agree.

    Args:
        name: one of `pyiqa.list_models()`.

    Raises:
        InputError: pyiqa is not installed, has no such metric, or cannot load it.
    """

    def __init__(self, name: str) -> None:
        try:
            import pyiqa
        except ImportError:
            raise InputError(
                "pyiqa's metrics need pyiqa, which is not installed. Type: pip install pyiqa"
            ) from None
        if name not in pyiqa.list_models():
            raise InputError(
                f"pyiqa has no metric {name!r}; it has {', '.join(pyiqa.list_models())}."
            )
        try:
            self.metric = pyiqa.create_metric(name)
        except Exception as error:  # a download may raise anything
            raise InputError(f"pyiqa could not load {name}: {error}") from error
        self.sign = -1.0 if self.metric.lower_better else 1.0

    def score_many(self, sources: Sequence[Path]) -> Iterator[Result]:
        import torch

        for source in sources:
            try:
                pixels = torch.from_numpy(open_picture(source).copy()).permute(2, 0, 1)
            except PictureError as error:
                yield Result(source, None, str(error))
                continue
            with torch.no_grad():
                value = self.sign * float(self.metric(pixels[None] / 255.0))
            known = math.isfinite(value)
            yield Result(source, value if known else None, None if known else "no finite score")
