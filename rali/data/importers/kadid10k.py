"""KADID-10k (Lin, Hosu and Saupe, 2019): 81 photographs × 25 degradations × 5 levels.

In: the release's folder (`dmos.csv`, `images/`), or VisualQuality-R1's lists of `reference picture
score std`, which split it (`KADID-10K_train_set.txt`, `…_val_set.txt`, `…_test_set.txt`). Despite
its name `dmos` is 1–5 and higher is better.
"""

from __future__ import annotations

from pathlib import Path

from ..manifest import Row
from ..tables import need_columns, read_csv
from ._cells import number, spaced
from ._pictures import subfolder
from ._release import Label, Release, home_of, name_parts, rows_of, score_file

LISTS = {split: f"KADID-10K_{split}_set.txt" for split in ("train", "val", "test")}
TYPES = (
    "gaussian blur", "lens blur", "motion blur", "color diffusion", "color shift",
    "color quantization", "color saturation 1", "color saturation 2", "jpeg2000", "jpeg",
    "white noise", "white noise in color", "impulse noise", "multiplicative noise", "denoise",
    "brighten", "darken", "mean shift", "jitter", "non-eccentricity patch", "pixelate",
    "quantization", "color block", "high sharpen", "contrast change",
)  # fmt: skip
# Their levels run from one side of the original to the other, not from weak to strong.
SIGNED = ("mean shift", "contrast change")


def read(root: str | Path, *, labels_only: bool = False) -> list[Row]:
    """Read the release, or VisualQuality-R1's lists where there is no `dmos.csv`.

    Raises:
        InputError: a file, column or picture is missing, or a cell is not what it should be.
    """
    home = home_of(root)
    source = score_file(root, ["dmos.csv", *LISTS.values()], RELEASE)
    if source.suffix.lower() == ".csv":
        labels = _table(source)
    else:
        splits = {name.lower(): split for split, name in LISTS.items()}
        paths = [source] if Path(root).is_file() else sorted(home.iterdir())
        named = {path: splits.get(path.name.lower()) for path in paths}
        lists = {path: split for path, split in named.items() if split} or {source: ""}
        labels = [label for path, split in lists.items() for label in _list(path, split)]
        source = source if len(lists) == 1 else home
    pictures = subfolder(home, "images")
    return rows_of(RELEASE, labels, source, pictures, labels_only=labels_only)


def _table(path: Path) -> list[Label]:
    header, records = read_csv(path)
    need_columns(path, header, ["dist_img", "ref_img", "dmos", "var"])
    found = []
    for line, record in records:
        where = f"{path}, row {line}"
        # `var` is the standard deviation of the ratings.
        found.append(
            _label(
                where,
                record.get("dist_img") or "",
                record.get("ref_img") or "",
                number(record.get("dmos"), f"{where}, column 'dmos'", required=True),
                number(record.get("var"), f"{where}, column 'var'", minimum=0),
            )
        )
    return found


def _list(path: Path, split: str) -> list[Label]:
    return [
        _label(where, cells[1], cells[0], number(cells[2], where), number(cells[3], where), split)
        for where, cells in spaced(path, 4)
    ]


def _label(
    where: str, name: str, reference: str, mos: float | None, std: float | None, split: str = ""
) -> Label:
    """`I01_02_03.png` is the second degradation of I01 at its third level."""
    content, distortion, severity = name_parts(name, TYPES, where)
    return Label(
        where, name, mos, std, content=content.lower(), split=split, reference=reference,
        distortion=distortion, severity=None if distortion in SIGNED else severity,
    )  # fmt: skip


RELEASE = Release(
    name="kadid10k",
    title="KADID-10k",
    layout="dmos.csv (or VisualQuality-R1's lists) and images/",
    pictures=10_125,
    worst=1.0,
    best=5.0,
    scale="1–5, higher is better",
    content="reference picture",
    split="VisualQuality-R1's lists: 6,125 train, 2,000 test, the rest val",
    licence="see its page",
    home="database.mmsp-kn.de/kadid-10k-database.html",
    read=read,
)
