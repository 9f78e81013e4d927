"""An evaluation: how well a model's scores agree with people's, as numbers, JSON, table, Markdown.

In: predictions and mean opinion scores of each data set. Out: an `Evaluation`, whose `to_dict` is
what evaluation.json and config.json hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rali.errors import InputError
from rali.metrics import METRICS, Logistic, bootstrap, find_logistic

if TYPE_CHECKING:
    from rich.table import Table

NOTE = (
    "In brackets: 95 % bootstrap interval over pictures. SRCC: Spearman; KRCC: Kendall's tau-b. "
    "PLCC (raw): Pearson on the scores as they are; PLCC (logistic): after the 4-parameter VQEG "
    "logistic fitted to the same pictures. RMSE: raw scores, 1 to 5."
)


@dataclass(frozen=True)
class Statistics:
    """How well the predictions for one data set agree with its mean opinion scores.

    Attributes:
        values: by the names in `METRICS`.
        intervals: 95 % bootstrap intervals (low, high), by the same names.
        n: the number of pictures.
        logistic: the curve of "plcc_logistic"; None where the straight line took its place.
    """

    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    n: int
    logistic: Logistic | None = None

    @classmethod
    def of(cls, pred: npt.ArrayLike, mos: npt.ArrayLike) -> Statistics:
        """Every metric of predictions [n] against mean opinion scores [n].

        Raises:
            InputError: different lengths, fewer than 3, a value that is not finite, constant input.
        """
        return cls(
            {name: metric.function(pred, mos) for name, metric in METRICS.items()},
            bootstrap(pred, mos),
            len(np.asarray(pred)),
            find_logistic(pred, mos),
        )

    def to_dict(self) -> dict[str, Any]:
        """What JSON holds: {metric: value, "n", "logistic": [b1, b2, b3, b4], "intervals"}."""
        return {
            **self.values,
            "n": self.n,
            "logistic": None if self.logistic is None else list(astuple(self.logistic)),
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Statistics:
        curve = stored["logistic"]
        return cls(
            {name: stored[name] for name in METRICS},
            {name: (low, high) for name, (low, high) in stored["intervals"].items()},
            stored["n"],
            None if curve is None else Logistic(*curve),
        )


@dataclass(frozen=True)
class Coverage:
    """How often the human score lay inside a model's calibrated interval.

    Attributes:
        level: the share that the interval promises, 0–1.
        radius: half the interval's width, in units of the score.
        coverage: {data set: share of its pictures, 0–1}.
    """

    level: float
    radius: float
    coverage: dict[str, float]


@dataclass(frozen=True)
class Unscored:
    """How many pictures got no score, and the score that they count as."""

    n: int
    counted_as: float

    @property
    def sentence(self) -> str:
        return f"Pictures that got no score and count as {self.counted_as:g}: {self.n}."


@dataclass(frozen=True)
class Evaluation:
    """How well a model's scores agree with people's, data set by data set.

    Attributes:
        datasets: {data set: its statistics}.
        split: the split whose rows were used; None for all rows.
        unlabelled: the number of rows without a human score, which were skipped.
        overlap: whether data sets share pictures, so that there is no total and no average.
        model: what was evaluated; "" where that is not known.
        unscored: pictures that got no score; None where each got one.
        interval: None for a model without a calibrated interval.
        asked: how a teacher was asked, as a sentence; "" for what is no teacher.
        server: what a teacher's server was asked for and took, by name; None where none was asked.
        pooled: {data set: in how many manifests it is}, of those that are in several.
    """

    datasets: dict[str, Statistics]
    split: str | None = None
    unlabelled: int = 0
    overlap: bool = False
    model: str = ""
    unscored: Unscored | None = None
    interval: Coverage | None = None
    asked: str = ""
    server: dict[str, Any] | None = None
    pooled: dict[str, int] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """The number of pictures in all data sets together."""
        return sum(statistics.n for statistics in self.datasets.values())

    @property
    def average(self) -> dict[str, float]:
        """{metric: mean over the data sets}, in which each data set counts once."""
        values = [statistics.values for statistics in self.datasets.values()]
        return {metric: float(np.mean([each[metric] for each in values])) for metric in METRICS}

    def to_dict(self) -> dict[str, Any]:
        """What JSON holds; what an evaluation does not have is left out."""
        stored: dict[str, Any] = {"model": self.model} if self.model else {}
        stored["split"] = self.split
        if not self.overlap:
            stored["n"] = self.n
        stored["unlabelled"] = self.unlabelled
        stored["datasets"] = {name: each.to_dict() for name, each in self.datasets.items()}
        if not self.overlap:
            stored["average"] = self.average
        if self.unscored is not None:
            stored["unscored"] = {"n": self.unscored.n, "as": self.unscored.counted_as}
        if self.interval is not None:
            stored["interval"] = vars(self.interval)
        if self.asked:
            stored["asked"] = self.asked
        if self.server is not None:
            stored["server"] = self.server
        if self.pooled:
            stored["pooled"] = self.pooled
        return stored

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Evaluation:
        """The evaluation that `to_dict` stored.

        Raises:
            InputError: something else, such as the JSON of a suite.
        """
        try:
            unscored, interval = stored.get("unscored"), stored.get("interval")
            return cls(
                {name: Statistics.from_dict(each) for name, each in stored["datasets"].items()},
                stored["split"],
                stored["unlabelled"],
                "average" not in stored,
                stored.get("model", ""),
                None if unscored is None else Unscored(unscored["n"], unscored["as"]),
                None if interval is None else Coverage(**interval),
                stored.get("asked", ""),
                stored.get("server"),
                dict(stored.get("pooled", {})),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"This is not an evaluation that `rali evaluate -o` wrote ({error!r})."
            ) from error


def to_table(evaluation: Evaluation) -> Table:
    """The evaluation as a rich table, one line per data set and their average.

    Intervals have two decimals here, so that the table fits into 80 columns.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = Text(_title(evaluation))  # as text: "[" in a name is not markup
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    table.add_column("data set", overflow="fold", min_width=8)
    table.add_column("n", justify="right")
    for metric in METRICS.values():
        table.add_column(metric.label.replace(" ", "\n"), justify="right")
    for line in _lines(evaluation, newline="\n", digits=2):
        table.add_row(*(Text(cell) for cell in line))
    return table


def to_markdown(evaluation: Evaluation) -> str:
    """The evaluation as a Markdown section: title, table, what the columns mean."""
    header = ["data set", "n", *(metric.label for metric in METRICS.values())]
    rows = [header, ["---", *["---:"] * (len(header) - 1)], *_lines(evaluation, newline=" ")]
    lines = ["| " + " | ".join(map(escaped, row)) + " |" for row in rows]
    notes = escaped(" ".join([NOTE, *remarks(evaluation)]))
    return "\n".join([f"## {escaped(_title(evaluation))}", "", *lines, "", notes, ""])


def remarks(evaluation: Evaluation) -> list[str]:
    """Sentences on what is particular about this evaluation; often none."""
    sentences = [f"Asked by {evaluation.asked}"] if evaluation.asked else []
    straight = [name for name, each in evaluation.datasets.items() if each.logistic is None]
    if straight:
        sentences.append(
            f"No logistic could be fitted to {', '.join(straight)}: "
            "PLCC (logistic) is PLCC (raw) there."
        )
    if (interval := evaluation.interval) is not None:
        held = ", ".join(f"{name} {share:.1%}" for name, share in interval.coverage.items())
        sentences.append(
            f"Human scores within the {interval.level:.0%} interval (±{interval.radius:.2f}): "
            f"{held}."
        )
    if evaluation.pooled:
        each = ", ".join(f"{name} of {count}" for name, count in evaluation.pooled.items())
        sentences.append(
            f"Data sets of several manifests, whose pictures are compared with each other: {each}."
        )
    if evaluation.unscored is not None:
        sentences.append(evaluation.unscored.sentence)
    if evaluation.unlabelled:
        sentences.append(f"Rows without a score, skipped: {evaluation.unlabelled}.")
    return sentences


def escaped(text: str) -> str:
    """A name that can break neither a Markdown table nor its page."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def _title(evaluation: Evaluation) -> str:
    rows = f"split {evaluation.split}" if evaluation.split else "all rows"
    return f"{evaluation.model or 'Predictions'} on {rows}"


def _lines(evaluation: Evaluation, newline: str, digits: int = 3) -> list[list[str]]:
    lines = []
    for name, statistics in evaluation.datasets.items():
        cells = []
        for metric in METRICS:
            low, high = statistics.intervals[metric]
            value = statistics.values[metric]
            cells.append(f"{value:.3f}{newline}[{low:.{digits}f}, {high:.{digits}f}]")
        lines.append([name, str(statistics.n), *cells])
    if len(lines) > 1 and not evaluation.overlap:
        average = [f"{value:.3f}" for value in evaluation.average.values()]
        lines.append(["average", str(evaluation.n), *average])
    return lines
