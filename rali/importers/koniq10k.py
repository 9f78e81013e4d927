"""KonIQ-10k (Hosu, Lin, Sziranyi and Saupe, 2020): 10,073 photographs from the wild.

In: a folder with `koniq10k_distributions_sets.csv` (official split) or
`koniq10k_scores_and_distributions.csv`, and `1024x768/` or `512x384/`. The MOS used is the z-score
MOS on 0–100 (`MOS` in the first file, `MOS_zscore` in the second), higher is better.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..manifest import Row
from ..tables import read_csv
from ._common import PictureFinder, need_columns, number, score, split_name

NAME = "koniq10k"
# The extremes of the full release, so that a subset of it gets the same scores.
LOW, HIGH = 3.91176470588, 88.3888888889
SETS = "koniq10k_distributions_sets.csv"
SCORES = "koniq10k_scores_and_distributions.csv"
FOLDERS = ("1024x768", "512x384")


def read(
    root: str | Path, *, resolution: str | None = None, labels_only: bool = False
) -> list[Row]:
    """Read the release.

    `std` is the release's SD of the ratings, which is on 1–5 already. Every photograph is a content
    of its own.

    Args:
        root: the folder that holds the CSV file and the folder of pictures.
        resolution: "1024x768" or "512x384"; by default the first that is there.
        labels_only: do not ask for the pictures.

    Raises:
        InputError: a file, column or picture is missing, or a cell is not what it should be.
    """
    root = Path(root)
    source = next((root / name for name in (SETS, SCORES) if (root / name).is_file()), None)
    if source is None:
        raise InputError(f"{root} holds neither {SETS} nor {SCORES}; give KonIQ-10k's folder.")
    header, records = read_csv(source)
    mos = "MOS" if source.name == SETS else "MOS_zscore"
    need_columns(source, header, ["image_name", mos, "SD"] + ["set"] * (source.name == SETS))
    pictures = PictureFinder(_pictures(root, resolution))
    rows: list[Row] = []
    for line, record in records:
        where = f"{source}, row {line}, column"
        raw = number(record.get(mos), f"{where} {mos!r}", required=True)
        rows.append(
            Row(
                image=pictures.find(record.get("image_name"), f"{where} 'image_name'"),
                score=score(raw, LOW, HIGH, f"{where} {mos!r}"),
                raw_score=raw,
                dataset=NAME,
                split=split_name(record.get("set"), f"{where} 'set'"),
                std=number(record.get("SD"), f"{where} 'SD'", minimum=0),
            )
        )
    pictures.stop_if_missing(source, labels_only)
    return rows


def _pictures(root: Path, resolution: str | None) -> Path:
    if resolution is not None and resolution not in FOLDERS:
        raise InputError(f"resolution is {resolution!r}; expected {' or '.join(FOLDERS)}.")
    names = FOLDERS if resolution is None else (resolution,)
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])
