"""Any CSV, by naming its columns.

In: a CSV with a header, the names of the columns that hold picture, score and the rest, and the
native range of the score, worst to best. Out: manifest rows on 1–5.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rali.errors import InputError

from ..manifest import Row
from ..splits import split_name
from ..tables import need_columns, read_csv
from ._cells import number
from ._pictures import PictureFinder
from ._scores import rescale_std, score


def read(
    table: str | Path,
    *,
    images: str | Path | None = None,
    image: str = "image",
    score_column: str | None = None,
    score_range: tuple[float, float] | None = None,
    std: str | None = None,
    content: str | None = None,
    split: str | None = None,
    split_names: Mapping[str, str] | None = None,
    dataset: str | None = None,
    labels_only: bool = False,
) -> list[Row]:
    """Read a CSV; columns that are not named are ignored.

    Args:
        table: the CSV.
        images: the folder that the picture names are relative to; the CSV's own by default.
        image: the column with the picture's file name; files are found whatever their case.
        score_column: the column with the score; None for unlabelled pictures.
        score_range: native scores of the worst and the best quality in the full release; high to
            low for scores where lower is better.
        std: the column with the standard deviation, in the score's units.
        content: the column with what must not straddle a split.
        split: the column with train, val or test.
        dataset: the data set's name; the CSV's name by default.
        split_names: what the names in that column mean, as in {"0": "train", "2": "test"}.
        labels_only: do not check that the pictures are there.

    Raises:
        InputError: a file, column or picture is missing, or a cell is not what it should be.
    """
    path = Path(table)
    if (score_column or std) and score_range is None:
        raise InputError(
            "Scores need the native range of the full release (--range WORST BEST), because a "
            "subset does not show it."
        )
    header, records = read_csv(path)
    need_columns(path, header, [c for c in (image, score_column, std, content, split) if c])
    low, high = score_range or (1.0, 5.0)
    pictures = PictureFinder(Path(images) if images else path.parent)
    rows: list[Row] = []
    for line, record in records:
        where = f"{path}, row {line}, column"
        raw = None
        if score_column:
            raw = number(record.get(score_column), f"{where} {score_column!r}")
        spread = number(record.get(std), f"{where} {std!r}", minimum=0) if std else None
        rows.append(
            Row(
                image=pictures.find(record.get(image), f"{where} {image!r}"),
                score=score(raw, low, high, f"{where} {score_column!r}"),
                raw_score=raw,
                dataset=path.stem if dataset is None else dataset,
                content=(record.get(content) or "").strip() if content else "",
                split=split_name(record.get(split), f"{where} {split!r}", split_names)
                if split
                else "",
                std=rescale_std(spread, low, high),
            )
        )
    pictures.stop_if_missing(path, labels_only)
    return rows
