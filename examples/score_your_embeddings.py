"""Read quality scores off embeddings you already have: RALI's PCA, bases and fit without training.

    python examples/score_your_embeddings.py manifest.csv

The manifest needs scores and the splits train, val and test. Any encoder will do: replace `embed`
by yours. Here it is the built-in student's, so this measures how good its embeddings are.
Needs `pip install 'rali[distill]'`.
"""

from __future__ import annotations

import sys

import numpy as np

from rali import Scorer
from rali.data.manifest import read_manifest
from rali.distill.bases import find_bases
from rali.distill.compress import fit_projection
from rali.distill.fit import fit_scores
from rali.metrics import plcc, srcc


def main(manifest: str) -> None:
    embed = Scorer().embed
    rows = [row for row in read_manifest(manifest) if row.score is not None]

    def part(split: str) -> tuple[np.ndarray, np.ndarray]:
        chosen = [row for row in rows if row.split == split]
        if not chosen:
            sys.exit(f"{manifest} has no scored picture in split {split!r}.")
        return embed([row.image for row in chosen]), np.array([row.score for row in chosen])

    train, val, test = part("train"), part("val"), part("test")
    projection = fit_projection(train[0])

    def centred(embeddings: np.ndarray) -> np.ndarray:
        return (embeddings - projection.mean) / projection.scale

    vectors, values = find_bases(projection.transform(train[0]), train[1])
    fitted = fit_scores(
        centred(train[0]), train[1], vectors, values, projection.components,
        validation=(centred(val[0]), val[1]),
    )  # fmt: skip
    predicted = fitted.predict(centred(test[0]))
    print(f"{len(vectors)} bases from {len(train[1])} pictures; on {len(test[1])} of split test:")
    print(f"SRCC {srcc(predicted, test[1]):.3f}, PLCC {plcc(predicted, test[1]):.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
