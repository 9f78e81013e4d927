"""Q-Insight's 5,000 comparisons of DiffIQA's pictures: which of two enhancements is better.

In: a JSON list of {ref_image, ImageA, ImageB, result}, where the result is `Image A`, `Image B` or
`Similar`, or the folder that holds it. Out: a table of pairs, not a manifest.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from rali.errors import InputError

from ..manifest import PairRow
from ._cells import json_rows, text_of
from ._pictures import PictureFinder
from ._release import Release, home_of, score_file

RESULTS = {"image a": "A", "a": "A", "image b": "B", "b": "B", "similar": "similar"}


def read(
    meta: str | Path, *, images: str | Path | None = None, labels_only: bool = False
) -> list[PairRow]:
    """Read the comparisons.

    Args:
        images: the folder that names are relative to; the list's own by default.

    Raises:
        InputError: not such a list, a picture is missing, or a value is not what it should be.
    """
    source = score_file(meta, ["train_comparison.json"], RELEASE)
    pictures = PictureFinder(Path(images) if images else home_of(meta), repeats=True)
    pairs = []
    for where, item in json_rows(source, ("ref_image", "ImageA", "ImageB", "result")):
        result = RESULTS.get(str(item["result"]).strip().lower())
        if result is None:
            raise InputError(
                f"{where}, 'result': {item['result']!r} is not Image A, Image B or Similar."
            )
        pairs.append(
            PairRow(
                image_a=pictures.find(text_of(item, "ImageA", where), f"{where}, 'ImageA'"),
                image_b=pictures.find(text_of(item, "ImageB", where), f"{where}, 'ImageB'"),
                result=result,
                reference=str(
                    pictures.find(text_of(item, "ref_image", where), f"{where}, 'ref_image'")
                ),
                dataset=RELEASE.name,
                content=text_of(item, "ref_image", where),
            )
        )
    if len(pairs) != RELEASE.pictures:
        warnings.warn(
            f"{source} lists {len(pairs):,} pairs; {RELEASE.title} have {RELEASE.pictures:,}.",
            stacklevel=2,
        )
    pictures.stop_if_missing(source, labels_only)
    return pairs


RELEASE = Release(
    name="q-insight-comparisons",
    title="Q-Insight's comparisons of DiffIQA",
    layout="train_comparison.json and the pictures that it names",
    pictures=5_000,
    worst=None,
    best=None,
    scale="A, B or similar",
    content="reference picture",
    split="none",
    licence="non-commercial academic research only",
    home="github.com/bytedance/Q-Insight",
    read=read,
    pairs=True,
)
