"""`rali distill --features`, and `rali score` with the head that it makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rali.errors import InputError

if TYPE_CHECKING:
    from rali.data.features import Features
    from rali.scoring.head import VectorScorer


def make_head(
    manifests: Sequence[Path],
    output: Path,
    features: Path | None,
    name: str | None,
    values: dict[str, Any],
    changes: Sequence[str],
    given: Mapping[str, object],
    dry_run: bool,
) -> None:
    """Fit a head to embeddings, as `rali.distill.head` does it.

    Args:
        features: the embeddings. name: what made them.
        values: settings from a file, with `changes` as `--set` takes them.
        given: what options of an encoder were given; none may be.

    Raises:
        InputError: such an option, a setting that a head has not, or what `distill_head` refuses.
    """
    from dataclasses import asdict

    from rali.data.features import Features
    from rali.data.manifest import read_manifest
    from rali.distill.head import HeadConfig, distill_head
    from rali.report.page import write_report
    from rali.runs.config import describe, from_dict, with_overrides
    from rali.runs.folder import RunFolder, alone_in
    from rali.runs.progress import StageProgress

    if features is None:
        raise InputError("--features-name is for --features: give it too.")
    if unused := [option for option, value in given.items() if value]:
        raise InputError(f"{unused[0]} is for an encoder, and --features takes its place.")
    if name is not None:
        values["features"] = name
    settings = from_dict(HeadConfig, with_overrides(values, changes))
    rows = [row for path in manifests for row in read_manifest(path)]
    found = Features(features)
    if dry_run:
        typer.echo(f"{describe(settings)}\n\nEmbeddings: {found.count:,} of {found.width} numbers.")
        return
    with alone_in(output), StageProgress(resumes=False) as progress:
        scorer = distill_head(
            settings,
            rows,
            found,
            output,
            trained_on=", ".join(sorted({row.dataset for row in rows if row.dataset})),
            progress=progress,
        )
    write_report(
        output / "report.html",
        title="rali distill --features",
        intro=f"A head over {features}, trained on {', '.join(map(str, manifests))}.",
        stages=RunFolder(output).seconds(),
        metrics=RunFolder(output).metrics(),
        basis_vectors=scorer.head.basis_vectors,
        basis_scores=scorer.head.basis_scores,
        config=asdict(settings),
    )
    typer.echo(f"report: {output / 'report.html'}")
    typer.echo(f"model:  {scorer.model} ({scorer.describe()})")
    typer.echo(f"try:    rali score {features} --model {scorer.model} --output scores.csv")


def open_vectors(
    model: str, sources: Sequence[str], column: str | None, given: Mapping[str, object]
) -> tuple[Features, VectorScorer]:
    """The embeddings to score, and the head that scores them.

    Args:
        given: options of `rali score` that are for pictures; none may be.

    Raises:
        InputError: such an option, several sources, or embeddings of another encoder.
    """
    from rali.data.features import Features
    from rali.scoring.head import VectorScorer

    scorer = VectorScorer(model)
    if unused := [option for option, value in given.items() if value]:
        raise InputError(f"{unused[0]} is for pictures, and {model} scores embeddings.")
    if len(sources) != 1:
        raise InputError(
            f"{model} scores one .parquet or one folder of them; given {len(sources)} sources."
        )
    features = Features(sources[0], column)
    scorer.check(features.encoder, features.width)
    return features, scorer
