"""KonIQ-10k (Hosu, Lin, Sziranyi and Saupe, 2020): 10,073 photographs from the wild.

In: a folder with `koniq10k_distributions_sets.csv` (official split) or
`koniq10k_scores_and_distributions.csv`, and `1024x768/` or `512x384/`. The MOS used is the z-score
MOS on 0–100 (`MOS` in the first file, `MOS_zscore` in the second), higher is better.
"""

from __future__ import annotations

from pathlib import Path

from rali.errors import InputError

from ..manifest import Row
from ..splits import split_name
from ..tables import need_columns, read_csv
from ._cells import number
from ._release import Label, Release, home_of, rows_of, score_file

LOW, HIGH = 3.91176470588, 88.3888888889
SETS = "koniq10k_distributions_sets.csv"
SCORES = "koniq10k_scores_and_distributions.csv"
FOLDERS = ("1024x768", "512x384")


def read(
    root: str | Path, *, resolution: str | None = None, labels_only: bool = False
) -> list[Row]:
    """Read the release.

    The release's SD of the ratings is already on 1–5. Every photograph is a content of its own.

    Args:
        root: the folder that holds the CSV file and the folder of pictures.
        resolution: "1024x768" or "512x384"; by default the first of them that is there.
        labels_only: do not check that the pictures are there.

    Raises:
        InputError: a file, column or picture is missing, or a cell is not what it should be.
    """
    source = score_file(root, [SETS, SCORES], RELEASE)
    header, records = read_csv(source)
    mos = "MOS_zscore" if "MOS_zscore" in header else "MOS"
    need_columns(source, header, ["image_name", mos, "SD"])
    labels = []
    for line, record in records:
        where = f"{source}, row {line}"
        spread = number(record.get("SD"), f"{where}, column 'SD'", minimum=0)  # on 1–5
        labels.append(
            Label(
                where,
                record.get("image_name") or "",
                number(record.get(mos), f"{where}, column {mos!r}", required=True),
                None if spread is None else spread * (HIGH - LOW) / 4,
                split=split_name(record.get("set"), f"{where}, column 'set'"),
            )
        )
    pictures = _pictures(home_of(root), resolution)
    return rows_of(RELEASE, labels, source, pictures, labels_only=labels_only)


def _pictures(root: Path, resolution: str | None) -> Path:
    if resolution is not None and resolution not in FOLDERS:
        raise InputError(f"resolution is {resolution!r}; expected {' or '.join(FOLDERS)}.")
    names = FOLDERS if resolution is None else (resolution,)
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])


RELEASE = Release(
    name="koniq10k",
    title="KonIQ-10k",
    layout="1024x768/ or 512x384/, and koniq10k_distributions_sets.csv (or "
    "koniq10k_scores_and_distributions.csv, which has no split)",
    pictures=10_073,
    worst=LOW,
    best=HIGH,
    scale="z-score MOS 0–100, higher is better",
    content="picture",
    split="official: 7,058 train, 1,000 val, 2,015 test",
    licence="see its page",
    home="database.mmsp-kn.de/koniq-10k-database.html",
    read=read,
)
