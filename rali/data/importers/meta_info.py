"""pyiqa's `meta_info_*.csv`: the lists that IQA-PyTorch trains and tests on.

In: a CSV that is read by position, with or without a header: `name, mos, std, …` (no reference) or
`ref, dist, mos, std, …` (full reference); the place of the first number shows which. With a header,
a column named `split` (train, val, test) is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rali.errors import InputError

from ..manifest import Row
from ..splits import split_name
from ..tables import need_columns, read_cells
from ._cells import number
from ._pictures import PictureFinder
from ._scores import rescale_std, score

SCORES = ("mos", "dmos", "score")


def read(
    meta_info: str | Path,
    *,
    score_range: tuple[float, float],
    images: str | Path | None = None,
    references: str | Path | None = None,
    dataset: str | None = None,
    split: str | None = None,
    split_names: Mapping[str, str] | None = None,
    labels_only: bool = False,
) -> list[Row]:
    """Read a meta_info file. Where there are references, the reference's name is the content.

    Args:
        meta_info: the CSV.
        score_range: native scores of the worst and the best quality in the full release; high to
            low for scores where lower is better.
        images: the folder that the names are relative to; the CSV's own by default.
        references: the folder of the reference pictures; `images` by default.
        dataset: the data set's name; the CSV's name without `meta_info_` by default.
        split: the column with train, val or test; by default the one named `split`, if any.
        split_names: what the names in that column mean, as in {"0": "train", "2": "test"}.
        labels_only: do not check that the pictures are there.

    Raises:
        InputError: a file, column or picture is missing, or a cell is not what it should be.
    """
    path = Path(meta_info)
    table = read_cells(path)
    header: list[str] = []
    if table and _kind(table[0][1]) is None:
        header = [cell.strip().lower() for cell in table.pop(0)[1]]
    if not table:
        raise InputError(f"{path} has no rows; expected `name,mos,std,…` or `ref,dist,mos,…`.")
    first, cells = table[0]
    mos_at = _named_score(header, path) if header else _kind(cells)
    if mos_at is None:
        raise InputError(
            f"{path}, row {first}: neither the second nor the third cell is a number; expected "
            "`name,mos,std,…` or `ref,dist,mos,…`."
        )
    if split is not None:
        need_columns(path, header, [split.lower()])
    split_at = _position(header, (split or "split").lower())
    std_at = _position(header, "std") if header else mos_at + 1
    pictures = PictureFinder(Path(images) if images else path.parent)
    originals = PictureFinder(Path(references)) if references else pictures
    rows: list[Row] = []
    for line, cells in table:
        where = f"{path}, row {line}"
        if len(cells) <= mos_at:
            raise InputError(f"{where}: {len(cells)} cells; expected at least {mos_at + 1}.")
        mos = f"{where}, column {mos_at + 1}"
        raw = number(cells[mos_at], mos)
        std = _cell(cells, std_at)
        reference = cells[0].strip() if mos_at == 2 else ""
        found = originals.look(reference) if reference else None
        rows.append(
            Row(
                image=pictures.find(cells[mos_at - 1].strip(), f"{where}, column {mos_at}"),
                score=score(raw, *score_range, mos),
                raw_score=raw,
                dataset=path.stem.removeprefix("meta_info_") if dataset is None else dataset,
                content=Path(reference).stem.lower(),
                split=split_name(
                    _cell(cells, split_at), f"{where}, column {split or 'split'!r}", split_names
                ),
                std=rescale_std(number(std, f"{where}, std", minimum=0), *score_range),
                reference=str(found or ""),
            )
        )
    pictures.stop_if_missing(path, labels_only)
    return rows


def _named_score(header: list[str], path: Path) -> int:
    """The position of the score that a header names: 1 without a reference, 2 with one."""
    named = [place for place, name in enumerate(header) if name in SCORES]
    if len(named) != 1 or named[0] not in (1, 2):
        raise InputError(
            f"{path} has the columns {', '.join(header)}; expected the score (one of "
            f"{', '.join(SCORES)}) in the second or third. Type: rali data import csv, which takes "
            "columns by their names."
        )
    return named[0]


def _kind(cells: list[str]) -> int | None:
    """The score's position: 1 without a reference, 2 with one, None in a header."""
    for position in (1, 2):
        try:
            float(cells[position])
        except (ValueError, IndexError):
            continue
        return position
    return None


def _position(header: list[str], name: str) -> int | None:
    return header.index(name) if name in header else None


def _cell(cells: list[str], position: int | None) -> str:
    return "" if position is None or position >= len(cells) else cells[position]
