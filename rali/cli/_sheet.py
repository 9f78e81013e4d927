"""`rali score --report`: the rows of a run as a contact sheet, with their pictures and maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rali.pictures.entry import Entry
from rali.report.contact import SheetRow, write_contact_sheet
from rali.scoring.journal import reasons_of
from rali.scoring.scorer import Scorer

from ._shown import picture_of, pictures_inside


def write_sheet(
    page: Path,
    rows: Callable[[], Iterable[dict[str, Any]]],
    entries: Iterable[Entry],
    scorer: Scorer,
    maps: Mapping[str, Path],
) -> None:
    """Write the page.

    Args:
        rows: gives the rows, as `score_rows` makes them, in the order of the page, at each call.
        entries: the sources', for pictures that are no files of their own.
        maps: where each map lies, by key.
    """
    inside = pictures_inside(rows(), entries)

    def shown() -> Iterator[SheetRow]:
        for row in rows():
            between = None if row.get("low") is None else (row["low"], row["high"])
            why = reasons_of(row.get("why") or ())
            key, error = row["image"], row["error"]
            picture = picture_of(key, inside)
            yield SheetRow(key, picture, row["score"], between, why, error, maps.get(key))

    write_contact_sheet(
        page, shown(), intro=f"Scored by {scorer.model}.", score_range=scorer.score_range
    )
