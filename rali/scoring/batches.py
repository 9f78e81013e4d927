"""A batch of a data engine in, the same batch with scores out: one class for Ray Data, Daft, Spark.

In: a table of pictures, a few dozen at a time, as the engine hands them to its workers. Out: the
table with the columns `score`, `error` and what else was asked for, in Arrow's types, so that a
batch without any error fits to one with errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rali.errors import InputError, require

from .rows import arrow_schema
from .scorer import Result, Scorer


class RaliScorer:
    """Scores one column of each batch it is called with.

        ds.map_batches(RaliScorer, compute=ray.data.ActorPoolStrategy(size=4), num_cpus=1)

    A batch is a dict of arrays, a `pyarrow.Table` or a `pandas.DataFrame`, and is returned with
    these columns added:

    - `score`: 1–5; null where the picture could not be scored.
    - `error`: why it could not; else null.
    - `low`, `high`: with `interval`, between which people's score lies with this probability.
    - `why`: with `explain`, the three likeliest phrases, each with its meaning and probability.
    - `embedding`: with `embed`, the encoder's output before PCA, float32 [D].

    It opens its model once, and may be pickled. `docs/pipelines.md` shows it in each engine.

    Args:
        model: as for `Scorer`.
        column: holds the pictures: paths, bytes of files, uint8 arrays [H, W, 3] of one size or of
            many, or a data set's image cells (`{"bytes": …, "path": …}`).
        threads: cores of this worker; one, as engines start a worker per core.
        options: further options of `Scorer`.

    Raises:
        InputError: the model, the level or an option is not usable.
        MissingExtraError: pyarrow is not installed.
    """

    def __init__(
        self,
        model: str | Path = "builtin",
        *,
        column: str = "image",
        interval: float | None = None,
        explain: bool = False,
        embed: bool = False,
        threads: int = 1,
        **options: Any,
    ) -> None:
        columns = ["score", "error"] + ([] if interval is None else ["low", "high"])
        self.schema = arrow_schema(columns + ["why"] * explain + ["embedding"] * embed)
        self.column = column
        self.scorer = Scorer(model, threads=threads, **options)
        self._asked: dict[str, Any] = {"interval": interval, "explain": explain, "embed": embed}
        self.scorer.score_many([], **self._asked)  # refuses what the model does not have

    def __call__(self, batch: Any) -> Any:
        """The batch, of its own kind, with the columns of `schema` added.

        Raises:
            InputError: the batch has no such column, or already has one that would be added.
        """
        names = list(batch) if isinstance(batch, Mapping) else [str(n) for n in _names(batch)]
        if self.column not in names:
            raise InputError(
                f"The batch has no column {self.column}, only {', '.join(names)}; give "
                "RaliScorer(column=…)."
            )
        if double := sorted(set(names) & set(self.schema.names)):
            raise InputError(
                f"The batch has a column {double[0]} already, which would be overwritten; rename "
                "it first."
            )
        scored = self.score(batch[self.column])
        columns = {name: scored[name].combine_chunks() for name in scored.column_names}
        if isinstance(batch, Mapping):
            return {**batch, **columns}
        if hasattr(batch, "assign"):
            return batch.assign(**{name: held.to_pylist() for name, held in columns.items()})
        for name, held in columns.items():
            batch = batch.append_column(name, held)
        return batch

    def score(self, pictures: Any) -> Any:
        """A `pyarrow.Table` with the columns of `schema` alone, one row per picture.

        Args:
            pictures: anything that can be iterated, or that has `to_pylist` (a series of Daft, an
                array of Arrow).
        """
        pa = require("pyarrow", "data")
        several: Iterable[Any] = pictures
        if hasattr(pictures, "to_pylist"):
            several = pictures.to_pylist()
        rows = [
            self._row(result) for result in self.scorer.score_many(iter(several), **self._asked)
        ]
        return pa.Table.from_pylist(rows, self.schema)

    def _row(self, result: Result) -> dict[str, Any]:
        row = {name: getattr(result, name) for name in self.schema.names}
        if "why" in row:
            row["why"] = [vars(reason) for reason in result.why]
        return row


def _names(batch: Any) -> list[Any]:
    """A table's names of columns.

    Raises:
        InputError: this is no batch.
    """
    names = getattr(batch, "column_names", None)  # Arrow
    if names is None:
        names = getattr(batch, "columns", None)  # pandas
    if names is None:
        raise InputError(
            "RaliScorer takes a dict of arrays, a pyarrow.Table or a pandas.DataFrame, not "
            f"{type(batch).__name__}."
        )
    return list(names)
