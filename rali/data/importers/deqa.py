"""DeQA-Score's JSON metas (You et al., 2025): a list of pictures with their scores.

In: a JSON list of {image, gt_score, gt_score_norm, std, std_norm, …}. `gt_score` and `std` are in
the data set's own units, `gt_score_norm` and `std_norm` on 1–5. Other keys are ignored.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from rali.errors import InputError

from ..manifest import Row
from ..splits import split_name
from ._cells import json_rows, number, text_of
from ._pictures import PictureFinder
from ._scores import rescale_std, score


def read(
    meta: str | Path,
    *,
    images: str | Path | None = None,
    score_range: tuple[float, float] | None = None,
    dataset: str | None = None,
    split: str = "",
    labels_only: bool = False,
) -> list[Row]:
    """Read a meta file.

    Args:
        meta: the JSON file.
        images: the folder that `image` is relative to; the JSON file's own by default.
        score_range: native scores of the worst and the best quality in the full release, with which
            `gt_score` and `std` are rescaled. By default `gt_score_norm` and `std_norm` are taken
            as they are.
        dataset: the data set's name; the file's name by default.
        split: the split of all rows (DeQA keeps train and test in two files).
        labels_only: do not check that the pictures are there.

    Raises:
        InputError: not such a list, a picture is missing, or a value is not what it should be.
    """
    path = Path(meta)
    pictures = PictureFinder(Path(images) if images else path.parent)
    part = split_name(split, "split")
    rows: list[Row] = []
    unscaled = 0
    for where, item in json_rows(path, ["image"]):
        raw = number(item.get("gt_score"), f"{where}, gt_score")
        std = number(item.get("std_norm"), f"{where}, std_norm", minimum=0)
        if score_range is not None:
            if raw is None:
                raise InputError(f"{where}: there is no gt_score to rescale; leave the range out.")
            value = score(raw, *score_range, f"{where}, gt_score")
            native = number(item.get("std"), f"{where}, std", minimum=0)
            unscaled += native is None and std is not None
            std = rescale_std(native, *score_range)  # std_norm is of gt_score_norm's range
        else:
            norm = number(item.get("gt_score_norm"), f"{where}, gt_score_norm")
            if norm is None and raw is not None:
                raise InputError(
                    f"{where}: there is gt_score without gt_score_norm; give the range of the full "
                    "release (--range WORST BEST)."
                )
            value = score(norm, 1, 5, f"{where}, gt_score_norm")
        rows.append(
            Row(
                image=pictures.find(text_of(item, "image", where), f"{where}, image"),
                score=value,
                raw_score=raw,
                dataset=path.stem if dataset is None else dataset,
                split=part,
                std=std,
            )
        )
    pictures.stop_if_missing(path, labels_only)
    if unscaled:
        warnings.warn(
            f"{path}: {unscaled:,} pictures have std_norm, which is not of the range that was "
            "given, and no std to rescale; their std is left empty.",
            stacklevel=2,
        )
    return rows
