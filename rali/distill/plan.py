"""What a distillation will do, checked and said before anything is loaded or written.

In: the settings, a manifest and rationales. Out: sentences, or an error for what cannot work.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rali.data.manifest import Row
from rali.data.triplets import Triplet
from rali.errors import InputError
from rali.pictures.inside import is_there
from rali.student.encoders import find_pretrained

from .memory import memory_words
from .pipeline import DistillConfig
from .splits import training_rows
from .stages import rationales_of


def plan(
    config: DistillConfig, rows: Sequence[Row], triplets: Sequence[Triplet] | None, count: int
) -> str:
    """The pictures, the encoder's weights, the rationales and the steps of a distillation.

    Args:
        rows: the manifest.
        triplets: the rationales; None where `count` reference rationales per picture are written.

    Raises:
        InputError: what `distill` would refuse for the same reason, or a picture that is missing.
    """
    train, val = training_rows(rows)
    missing = [row.image for row in (*train, *val) if not is_there(row.image)]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(train) + len(val)} pictures are missing, the first is "
            f"{missing[0]}."
        )
    weights = find_pretrained(config.encoder, config.pretrained or None)
    scored = sum(row.score is not None for row in train)
    scored_val = sum(row.score is not None for row in val)
    chooses = (
        f"{scored_val:,} of split val choose when to stop"
        if scored_val
        else "there are none of split val, so all steps are run"
    )
    sentences = [
        f"Pictures: {len(train):,} to train on, {scored:,} of them with a score; {chooses}.",
        f"Encoder: {config.encoder}, weights {weights or 'random'}.",
        f"Rationales: {_rationales(config, train, triplets, count)}.",
    ]
    steps, memory = [], ""
    if config.align.enabled and len(train) > 1:
        batch, aligned = config.align.plan(len(train))
        steps.append(f"{aligned:,} to align, of {batch} pictures")
        memory = memory_words(config.encoder, config.align, batch)
    if config.fit.enabled:
        steps.append(f"at most {config.fit.steps:,} to fit, of {config.fit.batch_size} embeddings")
    if config.finetune.epochs > 0:
        seen = config.finetune.per_pass([row.dataset for row in train if row.score is not None])
        batch, _, tuned = config.finetune.plan(sum(seen.values()))
        steps.append(f"{tuned:,} to fine-tune, of {batch} pictures")
    sentences.append(f"Steps: {'; '.join(steps) or 'none'}.")
    sentences += [memory] if memory else []
    return "\n".join(
        textwrap.fill(sentence, 79, subsequent_indent="    ") for sentence in sentences
    )


def _rationales(
    config: DistillConfig, train: Sequence[Row], triplets: Sequence[Triplet] | None, count: int
) -> str:
    if not config.align.enabled:
        return "none are needed, as align.enabled is false"
    if triplets is None:
        return f"{count} per picture are written by rule before the training"
    chosen = rationales_of(train, triplets)
    used = sum(len(of_row[: config.align.seeds_used or None]) for of_row in chosen)
    return f"{used:,} of the pictures to train on"
