"""DQ-495K (You et al., 2024): photographs with one synthetic degradation each, for its perception.

In: a JSON list of {image_ref, image_A, distortion_class, distortion_name, severity}, or the folder
that holds one. There are no scores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rali.errors import InputError
from rali.pictures.degrade import SEVERITY_NAMES

from ..manifest import Row
from ._common import json_rows
from ._release import Label, Release, home_of, rows_of, score_file

RELEASE = Release(
    name="dq495k",
    title="DQ-495K",
    pictures=495_000,
    worst=None,
    best=None,
    scale="no scores; severities 1–5",
    content="reference picture",
    split="none",
    licence="see its page",
    home="depictqa.github.io/depictqa-wild",
)
SEVERITIES = {name: level for level, name in enumerate(SEVERITY_NAMES)} | {"null": 0}


def read(
    meta: str | Path, *, images: str | Path | None = None, labels_only: bool = False
) -> list[Row]:
    """Read a meta file.

    Args:
        images: the folder that names are relative to; the file's own by default.

    Raises:
        InputError: not such a file, a picture is missing, or a value is not what it should be.
    """
    source = score_file(meta, ["dq495k.json", "train.json"], RELEASE)
    labels = []
    for where, item in json_rows(source, ("image_ref", "image_A", "distortion_class", "severity")):
        labels.append(
            Label(
                where,
                item["image_A"],
                content=item["image_ref"],
                reference=item["image_ref"],
                distortion=item["distortion_class"] or "null",
                severity=_severity(item["severity"], where),
            )
        )
    folder = Path(images) if images else home_of(meta)
    return rows_of(RELEASE, labels, source, folder, labels_only=labels_only)


def _severity(value: Any, where: str) -> int | None:
    """A number, or one of the names that its questions use."""
    if value is None or value == "":
        return None
    known = SEVERITIES.get(str(value).strip().lower())
    if known is None and str(value).strip() in {"0", "1", "2", "3", "4", "5"}:
        known = int(value)
    if known is None:
        raise InputError(
            f"{where}, 'severity': {value!r} is none of 0–5 and {', '.join(SEVERITIES)}."
        )
    return known
