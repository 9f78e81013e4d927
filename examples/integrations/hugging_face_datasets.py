"""Score a Hugging Face data set, and keep what people would like.

    pip install "rali[data]" datasets
    python hugging_face_datasets.py photos/ --least 3 -o scored/

The Arrow format hands pictures over as they are stored, so each is decoded once, by rali. The
scored set has the columns `score` and `error`; pictures without a score are not kept.
"""

from __future__ import annotations

import argparse

from datasets import Dataset, load_dataset

from rali import RaliScorer


def scored(pictures: Dataset, **options: object) -> Dataset:
    """The data set with the columns of `RaliScorer`, whose options these are.

    A model folder may hold other weights than last time: give `load_from_cache_file` to `map`
    where that matters.
    """
    scorer = RaliScorer(**options)
    arrow = pictures.with_format("arrow").map(scorer, batched=True, batch_size=64)
    return arrow.with_format(pictures.format["type"])


def at_least(pictures: Dataset, least: float) -> Dataset:
    """The pictures of a scored data set that score `least` (1–5) or more."""
    return pictures.filter(
        lambda score: score is not None and score >= least, input_columns="score"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of pictures")
    parser.add_argument("--least", type=float, default=3.0, help="the lowest score to keep, 1–5")
    parser.add_argument("-o", "--output", required=True, help="folder for what is kept")
    given = parser.parse_args()
    pictures = scored(load_dataset("imagefolder", data_dir=given.folder, split="train"))
    kept = at_least(pictures, given.least)
    kept.save_to_disk(given.output)
    print(f"{len(kept)} of {len(pictures)} pictures score {given.least:g} or more.")
