"""Which of several pictures is better, and how sure: from scores and a model's calibrated errors.

The probability that people find A better than B is that of score A + error > score B + another
error, where both errors are drawn, with either sign, from those that `rali calibrate` measured. It
takes the errors of two pictures as independent, and new pictures as like the calibration pictures;
`benchmarks/compare.md` holds it against people.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rali.errors import InputError

from .intervals import Interval

if TYPE_CHECKING:
    from .scorer import Scorer


@dataclass(frozen=True)
class Ranked:
    """A picture's place among others.

    Attributes:
        source: the picture as it was given.
        rank: 1 is the best; None without a score.
        score: None where the picture could not be scored.
        beats_next: probability that people find it better than the next in rank; None for the last.
        beats_best: probability that people find it better than rank 1; None for rank 1.
        error: the reason why there is no score.
    """

    source: Any
    rank: int | None
    score: float | None
    beats_next: float | None
    beats_best: float | None
    error: str | None


def probability_better(interval: Interval, difference: float) -> float:
    """The probability that people find A better than B.

    Args:
        interval: the model's calibrated errors.
        difference: score of A − score of B, on the model's scale.
    """
    errors = np.array(interval.errors)
    signed = np.sort(np.concatenate([-errors, errors]))
    reach = signed + difference  # A is better where the error of B lies below
    below = np.searchsorted(signed, reach, "left") + np.searchsorted(signed, reach, "right")
    return float(below.mean() / 2 / len(signed))


def compare(scorer: Scorer, pictures: Iterable[Any]) -> list[Ranked]:
    """Rank pictures from the best to the worst; those that cannot be scored come last.

        ranked = compare(Scorer(), ["a.jpg", "b.jpg"])
        ranked[0].source, ranked[0].beats_next  # ("b.jpg", 0.93)

    Raises:
        InputError: fewer than two pictures, or the model has no calibrated interval.
    """
    interval = scorer.interval
    results = list(scorer.score_many(pictures))
    if len(results) < 2:
        raise InputError(f"A comparison needs two pictures or more; got {len(results)}.")
    scored = sorted(
        ((result.score, result.source) for result in results if result.score is not None),
        key=lambda pair: -pair[0],
    )
    ranked = []
    for place, (score, source) in enumerate(scored):
        after = scored[place + 1][0] if place + 1 < len(scored) else None
        ranked.append(
            Ranked(
                source,
                place + 1,
                score,
                None if after is None else probability_better(interval, score - after),
                probability_better(interval, score - scored[0][0]) if place else None,
                None,
            )
        )
    failed = (result for result in results if result.score is None)
    return ranked + [Ranked(r.source, None, None, None, None, r.error) for r in failed]
