"""`rali score --report`: the rows of a run as a contact sheet, with their pictures and maps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rali.report.contact import SheetRow, write_contact_sheet
from rali.scoring.journal import reasons_of
from rali.scoring.scorer import Scorer


def write_sheet(
    page: Path,
    rows: Iterable[dict[str, Any]],
    entries: Iterable[Any],
    scorer: Scorer,
    maps: Mapping[str, Path],
) -> None:
    """Write the page.

    Args:
        rows: as `score_rows` makes them, in the order of the page.
        entries: the sources' entries, which know the picture behind each row's key.
        maps: where each map lies, by key.
    """
    pictures = {entry.key: entry.picture for entry in entries}

    def shown() -> Iterator[SheetRow]:
        for row in rows:
            between = None if row.get("low") is None else (row["low"], row["high"])
            why = reasons_of(row.get("why") or ())
            key = row["image"]
            drawn = maps.get(key)
            yield SheetRow(key, pictures.get(key), row["score"], between, why, row["error"], drawn)

    write_contact_sheet(
        page, shown(), intro=f"Scored by {scorer.model}.", score_range=scorer.score_range
    )
