"""DQ-495K (You et al., 2024): photographs with one synthetic degradation each, and no scores.

In: a JSON list of {image_ref, image_A, distortion_class, distortion_name, severity}, or of
Q-Insight's {image, distortion_class, severity}, or the folder that holds one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rali.errors import InputError

from ..manifest import Row
from ._cells import json_rows, text_of
from ._release import Label, Release, home_of, rows_of, score_file


def read(
    meta: str | Path, *, images: str | Path | None = None, labels_only: bool = False
) -> list[Row]:
    """Read a meta file.

    Args:
        images: the folder that names are relative to; the list's own by default.

    Raises:
        InputError: not such a list, a picture is missing, or a value is not what it should be.
    """
    source = score_file(meta, ["dq495k.json", "train.json"], RELEASE)
    labels = []
    for where, item in json_rows(source, ("distortion_class", "severity")):
        if not {"image", "image_A"} & item.keys():
            raise InputError(f"{where}: expected an object with image_A (or image).")
        reference = text_of(item, "image_ref", where) if "image_ref" in item else ""
        labels.append(
            Label(
                where,
                text_of(item, "image_A" if "image_A" in item else "image", where),
                content=reference,
                reference=reference,
                distortion=text_of(item, "distortion_class", where) or "null",
                severity=_severity(item["severity"], where),
            )
        )
    folder = Path(images) if images else home_of(meta)
    return rows_of(RELEASE, labels, source, folder, labels_only=labels_only)


def _severity(value: Any, where: str) -> int | None:
    """The level of a number, or of a name that the data set's questions use."""
    from rali.pictures.degrade import SEVERITY_NAMES  # brings scipy, which no other release needs

    if value is None or value == "":
        return None
    levels = {name: level for level, name in enumerate(SEVERITY_NAMES)} | {"null": 0}
    level = levels.get(str(value).strip().lower())
    if level is None and str(value).strip() in {"0", "1", "2", "3", "4", "5"}:
        level = int(value)
    if level is None:
        raise InputError(f"{where}, 'severity': {value!r} is not one of 0–5, {', '.join(levels)}.")
    return level


RELEASE = Release(
    name="dq495k",
    title="DQ-495K",
    layout="dq495k.json (or train.json), a list of pictures and degradations without scores",
    pictures=495_000,
    worst=None,
    best=None,
    scale="no scores; severities 1–5",
    content="reference picture",
    split="none",
    licence="see its page",
    home="depictqa.github.io/depictqa-wild",
    read=read,
)
