"""A data set's own scores, of any range and direction, on rali's scale: 1 (worst) to 5 (best)."""

from __future__ import annotations

import math

from rali.errors import InputError


def rescale(raw: float, low: float, high: float) -> float:
    """Map a score from [low, high] to [1, 5], linearly: 1 + 4 · (raw − low) / (high − low).

    Args:
        raw: a score in the data set's own range.
        low: the native score of the worst quality; `low > high` flips (DMOS: 100, 0).
        high: the native score of the best quality.

    Raises:
        InputError: low equals high, or raw is not between them.
    """
    if not (math.isfinite(low) and math.isfinite(high)) or low == high:
        raise InputError(
            f"A score range needs two different numbers, worst and best; got {low:g} and {high:g}."
        )
    share = (raw - low) / (high - low)
    if not -1e-9 <= share <= 1 + 1e-9:  # not `<`, so that NaN is refused too
        raise InputError(
            f"{raw!r} is outside the score range {low:g} to {high:g}; "
            "give the range of the full release, worst to best."
        )
    return 1 + 4 * min(1.0, max(0.0, share))


def rescale_std(std: float | None, low: float, high: float) -> float | None:
    """A standard deviation in the units of [low, high] → the 1–5 scale."""
    return None if std is None else 4 * std / abs(high - low)


def score(raw: float | None, low: float, high: float, where: str) -> float | None:
    """`rescale`, with the cell's place in the error; None stays None."""
    try:
        return None if raw is None else rescale(raw, low, high)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
