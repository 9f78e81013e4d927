"""A score in, an XMP sidecar's bytes out: stars, a namespace of our own, and keywords.

    xmp:Rating     1–5 stars, which photo managers show and filter by
    rali:…         Score, Low, High, Level, Model, Weights; Stars and Keywords note what of the
                   other two is rali's
    dc:subject     keywords such as quality|blur

What a sidecar held before stays as it was (`xmp_packet`). Stars that somebody else gave are kept:
stars are rali's only where they equal the noted ones. By ISO 16684-1, 0 means "not rated"; -1,
"rejected", is a rating.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rali.errors import InputError

from .xmp_packet import Name, Packet

RALI = "urn:rali:xmp:1.0/"
XMP = "http://ns.adobe.com/xap/1.0/"
DC = "http://purl.org/dc/elements/1.1/"
PREFIXES = {RALI: "rali", XMP: "xmp", DC: "dc"}
RATING, SUBJECT, KEYWORDS = (XMP, "Rating"), (DC, "subject"), (RALI, "Keywords")
STARS_NOTED = (RALI, "Stars")
# The fifths of people's scores: quintiles of the 2,451 human scores of BIQ2021's train split that
# the built-in was made from, on its scale (`python benchmarks/xmp.py`).
STARS = (2.07, 3.09, 3.87, 4.15)
_OURS = "quality|"  # what each keyword of rali's begins with
_BETWEEN = re.compile(rf"; (?={re.escape(_OURS)})")  # a meaning may hold "; " itself
_LIKELY = 0.25  # a phrase's probability from which it becomes a keyword
_EMPTY = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="rali">\n'
    b' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
    b" </rdf:RDF>\n</x:xmpmeta>\n"
    b'<?xpacket end="w"?>\n'
)


@dataclass(frozen=True)
class Marks:
    """What a sidecar is to say of its picture.

    Attributes:
        score: in the model's range. stars: 1–5.
        model: its name. weights: SHA-256 of its weights.
        between: low, high and the probability of people's score to lie there; or None.
        keywords: such as "quality|blur".
    """

    score: float
    stars: int
    model: str
    weights: str
    between: tuple[float, float, float] | None = None
    keywords: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sidecar:
    """What became of a sidecar.

    Attributes:
        data: its bytes from now on.
        others: whether its rating is not rali's and was kept.
    """

    data: bytes
    others: bool


def stars_of(score: float, thresholds: Sequence[float] = STARS) -> int:
    """1 below the first of four thresholds, 5 from the last on."""
    return 1 + sum(score >= threshold for threshold in thresholds)


def keywords_of(why: Sequence[tuple[str, float]]) -> tuple[str, ...]:
    """Keywords of a picture's meanings with their probabilities (0–1): those of 0.25 or more."""
    return tuple(f"{_OURS}{meaning}" for meaning, chance in why if chance >= _LIKELY)


def marked(before: bytes | None, marks: Marks, *, rated: bool = False) -> Sidecar:
    """A sidecar with these marks; where it has them already, as it is.

    Where somebody took the stars or a keyword of rali's away, they come back only with another
    score, and not before.

    Args:
        before: its bytes, or None where there is none yet.
        rated: whether the picture itself holds a rating, which stars in a sidecar would hide.

    Raises:
        InputError: it cannot be edited; `str(error)` is the reason, without the file's name.
    """
    packet = Packet(_EMPTY if before is None else before)
    noted = {(RALI, name): _text(packet, (RALI, name)) for name in packet.names(RALI)}
    rating, stars = _text(packet, RATING), noted.get(STARS_NOTED)
    unrated = packet.get(RATING) is None or rating in ("", "0")
    others = (rated and stars is None) if unrated else rating is None or rating != stars

    items = packet.items(SUBJECT) if marks.keywords or KEYWORDS in noted else []
    ours = [word for word in _BETWEEN.split(noted.get(KEYWORDS) or "") if word]
    keywords = [word for word in marks.keywords if word in ours or word not in items]

    wanted = _values(marks, keywords)
    if others:
        wanted.pop(STARS_NOTED)
        if before is not None and {**noted, STARS_NOTED: ""} == {**wanted, STARS_NOTED: ""}:
            return Sidecar(before, others)
    if before is not None and noted == wanted:
        return Sidecar(before, others)

    for name in noted.keys() - wanted.keys():
        packet.remove(name)
    if not others:
        wanted[RATING] = str(marks.stars)
    for name in [name for name in wanted if packet.get(name)]:
        packet.replace(name, wanted.pop(name))
    lists: dict[Name, list[str]] = {}
    add = [word for word in keywords if word not in items]
    drop = set(ours) & set(items) - set(keywords)
    if add and packet.get(SUBJECT) is None:
        lists[SUBJECT] = add
    elif add or drop:
        packet.change_items(SUBJECT, drop, add)
    if wanted or lists:
        packet.add(PREFIXES, wanted, lists)
    return Sidecar(packet.edited(), others)


def rating_in(packet: bytes) -> bool:
    """Whether XMP from inside a picture gives a rating; what cannot be read gives none."""
    try:
        found = Packet(packet.rstrip(b"\0 ")).get(RATING)
    except InputError:
        return False
    return found is not None and (found.value or "").strip() not in ("", "0")


def _values(marks: Marks, keywords: Sequence[str]) -> dict[Name, str]:
    """The plain properties, as they are written; three digits do not change between machines."""
    values = {"Score": f"{marks.score:.3f}"}
    if marks.between:
        low, high, level = marks.between
        values |= {"Low": f"{low:.3f}", "High": f"{high:.3f}", "Level": f"{level:g}"}
    values |= {"Model": marks.model, "Weights": marks.weights, "Stars": str(marks.stars)}
    if keywords:
        values["Keywords"] = "; ".join(keywords)
    return {(RALI, name): value for name, value in values.items()}


def _text(packet: Packet, name: Name) -> str | None:
    found = packet.get(name)
    return None if found is None or found.value is None else found.value.strip()
