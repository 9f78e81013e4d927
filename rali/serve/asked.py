"""What a request's address asks for beside scores: /score?explain=true&interval=0.9&map=true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

from rali.errors import InputError, shortened
from rali.scoring.scorer import Scorer

_SAID = {"true": True, "false": False}


@dataclass(frozen=True)
class Asked:
    """What a result holds beside its score.

    Attributes:
        explain: "why", the three likeliest phrases.
        interval: the probability with which people's score lies between "low" and "high".
        map: "map", the scores of overlapping windows.
    """

    explain: bool = False
    interval: float | None = None
    map: bool = False


def lacks_of(scorer: Scorer) -> dict[str, str]:
    """What the model cannot answer, with the reason; to be asked once, as the Hub is looked at."""
    lacks = {}
    for name, held in (("explain", "phrases"), ("interval", "interval")):
        try:
            getattr(scorer, held)
        except InputError as error:
            lacks[name] = str(error)
    return lacks


def asked_of(query: QueryParams, scorer: Scorer, lacks: Mapping[str, str]) -> Asked:
    """Read the address.

    Args:
        lacks: of `lacks_of`.

    Raises:
        HTTPException: a name or a value is unknown, or the model cannot answer.
    """
    refuse_unknown(query, ("explain", "interval", "map"))
    asked = Asked(_truth(query, "explain"), _level(query), _truth(query, "map"))
    for name, given in (("interval", asked.interval is not None), ("explain", asked.explain)):
        if given and name in lacks:
            raise HTTPException(400, lacks[name])
    if asked.interval is not None:
        try:
            scorer.interval.radius(asked.interval)
        except InputError as error:
            raise HTTPException(400, str(error)) from None
    return asked


def refuse_unknown(query: QueryParams, known: tuple[str, ...] = ()) -> None:
    """Raise an HTTPException where the address holds anything else, or one thing twice."""
    names = [name for name, _ in query.multi_items()]
    for name in names:
        if name not in known:
            expected = ", ".join(known) or "none"
            raise HTTPException(400, f"The query has {shortened(name)!r}; expected {expected}.")
        if names.count(name) > 1:
            raise HTTPException(400, f"The query has {name!r} twice: give it once.")


def _truth(query: QueryParams, name: str) -> bool:
    value = query.get(name, "false")
    if value not in _SAID:
        raise HTTPException(400, f"{name} is {shortened(value)!r}; expected true or false.")
    return _SAID[value]


def _level(query: QueryParams) -> float | None:
    if (value := query.get("interval")) is None:
        return None
    try:
        return float(value)
    except ValueError:
        reason = f"interval is {shortened(value)!r}; expected a level such as 0.9."
        raise HTTPException(400, reason) from None
