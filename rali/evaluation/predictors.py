"""What can be evaluated besides a scorer: a CSV of predictions, a metric of pyiqa."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from rali.data.tables import read_csv, resolve_path
from rali.errors import InputError, PictureError
from rali.scoring.scorer import Result


class Predictions:
    """Scores that something else gave, from a CSV with `image` and `predicted` or `score`.

    A picture is known by its path, relative to the CSV, or else by its file name.
    """

    def __init__(self, path: Path) -> None:
        header, records = read_csv(path)
        column = next((name for name in ("predicted", "score") if name in header), None)
        if "image" not in header or column is None:
            raise InputError(
                f"{path} has the columns {', '.join(header) or 'none'}; predictions need `image` "
                "and `predicted` (or `score`)."
            )
        self.path = path
        self._by_path: dict[Path, float] = {}
        self._by_name: dict[str, float | None] = {}
        for line, record in records:
            image, text = record.get("image") or "", record.get(column) or ""
            try:
                value = float(text)
            except ValueError:
                raise InputError(
                    f"{path}, row {line}, column {column!r}: {text!r} is not a number."
                ) from None
            self._by_path[resolve_path(image, path.parent)] = value
            name = Path(image).name
            self._by_name[name] = None if name in self._by_name else value  # two: not known by name

    def score_many(self, sources: Sequence[Path]) -> Iterator[Result]:
        for source in sources:
            value = self._by_path.get(source, self._by_name.get(source.name))
            yield Result(source, value, None if value is not None else f"not in {self.path}")


class PyiqaMetric:
    """A metric of pyiqa; where lower is better its sign is turned, so that ranks agree."""

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
        except Exception as error:  # what a download raises is not for us to list
            raise InputError(f"pyiqa could not load {name}: {error}") from error
        self.sign = -1.0 if self.metric.lower_better else 1.0

    def score_many(self, sources: Sequence[Path]) -> Iterator[Result]:
        import torch

        from rali.pictures.read import open_picture

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
