"""`rali score --map`: a map of each scored picture, as PNG under the picture's name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rali.files import replace_atomically
from rali.pictures.paths import path_in
from rali.scoring.journal import Journal

from ._resume import Shards

if TYPE_CHECKING:
    from rali.scoring.scorer import Scorer


def drawing(scorer: Scorer, folder: Path, sink: Any) -> Callable[[dict[str, Any], Any], None]:
    """A function that draws a row's map into the folder, as PNG under the picture's name."""
    folder.mkdir(parents=True, exist_ok=True)
    used = set(map_names(sink).values())  # a resumed run gives no name a second time

    def draw(row: dict[str, Any], picture: Any) -> None:
        if row["score"] is not None:
            overlay = scorer.map(picture).overlay()
            target = folder / _map_name(row["image"], used)
            replace_atomically(target, lambda path: overlay.save(path, "PNG"))

    return draw


def map_names(sink: Any) -> dict[str, str]:
    """The file name of each map, by the key of its picture, of the rows that an output holds."""
    used: set[str] = set()
    scored = (row["image"] for row in _rows(sink) if row["score"] is not None)
    return {key: _map_name(key, used) for key in scored}


def _rows(sink: Any) -> Iterable[dict[str, Any]]:
    """Key and score at least of the rows that an output holds already; the screen holds none."""
    if isinstance(sink, Journal):
        return (row for _, row in sink.read())
    return sink.ledger.read(["image", "score"]) if isinstance(sink, Shards) else ()


def _map_name(key: str, used: set[str]) -> str:
    """A file name after the picture's that is not in use, and now is."""
    stem = Path(path_in(key)).stem
    name, count = f"{stem}.png", 1
    while name in used:
        count += 1
        name = f"{stem}-{count}.png"
    used.add(name)
    return name
