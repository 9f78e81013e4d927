"""What a request's address asks for beside scores: /score?explain=true&interval=0.9&map=true."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

from rali.errors import HubError, InputError, shortened
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


class Lacks:
    """What the model cannot answer, with the reason: the Hub is asked once, or until it replies."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._open = {"explain": "phrases", "interval": "interval"}
        self._reasons: dict[str, InputError] = {}
        self._looking: asyncio.Task[None] | None = None
        self._look()

    def check(self, name: str) -> None:
        """Raise an HTTPException where the model cannot answer."""
        if name in self._reasons:
            raise HTTPException(503 if name in self._open else 400, str(self._reasons[name]))

    async def look_again(self, name: str) -> None:
        """Ask the Hub where it did not reply; requests at the same time share one asking."""
        if name in self._open:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(asyncio.to_thread(self._look))
            await asyncio.shield(self._looking)

    def _look(self) -> None:
        for name, held in list(self._open.items()):
            reason: InputError | None = None
            try:
                getattr(self._scorer, held)
            except InputError as error:
                self._reasons[name] = reason = error
            if not isinstance(reason, HubError):
                del self._open[name]
            if reason is None:
                self._reasons.pop(name, None)


async def asked_of(query: QueryParams, scorer: Scorer, lacks: Lacks) -> Asked:
    """Read the address.

    Raises:
        HTTPException: a name or a value is unknown, or the model cannot answer.
    """
    refuse_unknown(query, ("explain", "interval", "map"))
    asked = Asked(_truth(query, "explain"), _level(query), _truth(query, "map"))
    for name, given in (("interval", asked.interval is not None), ("explain", asked.explain)):
        if given:
            await lacks.look_again(name)
            lacks.check(name)
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
