"""`rali data`: manifests of data sets, splits, checks, degraded pictures, reference rationales."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Annotated

import typer

from rali.errors import InputError

from . import data_import
from ._manifest import Output, print_summary, write_rows

app = typer.Typer(
    no_args_is_help=True,
    help="Make, split and check manifests, degrade photographs, write reference rationales.\n\n"
    "Example: rali data check manifest.csv",
)
app.add_typer(data_import.app, name="import")

Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest: .csv or .parquet.")]


@app.command("list")
def list_releases() -> None:
    """List the data sets that `rali data import` reads: size, scale, files, licence, source.

    Example: rali data list
    """
    from rali.data.importers import RELEASES

    for release in RELEASES.values():
        kind = "pairs" if release.pairs else "pictures"
        typer.echo(
            f"{release.name}\n"
            f"    {release.title}, {release.pictures:,} {kind}; {release.scale}\n"
            f"    files: {release.layout}\n"
            f"    content: {release.content}; split: {release.split}\n"
            f"    licence: {release.licence}; from: {release.home}"
        )


@app.command("split")
def split_manifest(
    manifest: Manifest,
    output: Output,
    fractions: Annotated[
        str,
        typer.Option(metavar="A:B:C", help="Shares of train:val:test, or of train:test as in 8:2."),
    ] = "6:2:2",
    seed: Annotated[int, typer.Option(help="A different seed gives a different assignment.")] = 0,
) -> None:
    """Assign train, val and test by content, in place of any splits that are there.

    The assignment depends only on the seed, the names of the data sets and the contents.

    Example: rali data split manifest.csv --fractions 6:2:2 -o split.csv
    """
    from rali.data.manifest import read_manifest
    from rali.data.splits import assign_splits

    try:
        parts = [float(part) for part in fractions.split(":")]
    except ValueError as error:
        raise typer.BadParameter(
            f"{fractions!r} is not a list of numbers with colons between them, as in 6:2:2 or 8:2.",
            param_hint="--fractions",
        ) from error
    # A manifest whose contents straddle its splits is what this command repairs.
    rows = read_manifest(manifest, check_straddling=False)
    write_rows(assign_splits(rows, parts, seed), output)


@app.command("check")
def check(
    manifest: Annotated[
        list[Path], typer.Argument(metavar="MANIFEST...", help="Manifests: .csv or .parquet.")
    ],
    files: Annotated[bool, typer.Option(help="Check that the pictures are there.")] = True,
    twins: Annotated[
        bool,
        typer.Option(help="Read the pictures, and look for near-identical ones across splits."),
    ] = True,
) -> None:
    """Check manifests together and print what they hold.

    Several manifests are checked as one: a picture of one may be the twin of another's. The exit
    code is 1 if pictures are missing, or if the same ones, the same contents or near-identical ones
    lie in different splits, and 2 if a manifest is invalid.

    Example: rali data check manifest.csv
    """
    from rali.data.manifest import read_manifest
    from rali.data.splits import straddling
    from rali.data.tables import first_few
    from rali.data.twins import find_twins
    from rali.pictures.inside import is_there
    from rali.pictures.paths import as_text
    from rali.runs.progress import StageProgress

    rows = [row for path in manifest for row in read_manifest(path)]
    print_summary(rows)
    both = [row.image for row, _ in straddling(rows)]
    if both:
        typer.echo(
            f"{len(both)} of {len(rows)} pictures are in an earlier split too, or their content "
            f"is: {first_few(both)}. Type: rali data split",
            err=True,
        )
        raise typer.Exit(1)
    missing = [row.image for row in rows if files and not is_there(row.image)]
    if missing:
        typer.echo(
            f"{len(missing)} of {len(rows)} pictures are missing: {first_few(missing)}.", err=True
        )
        raise typer.Exit(1)
    if not (files and twins and len({row.split for row in rows if row.split}) > 1):
        return
    with StageProgress() as progress:
        found = find_twins(rows, progress=progress)
    for twin in found:
        typer.echo(
            as_text(
                f"{twin.held_out.image} ({twin.held_out.split}) is near-identical to "
                f"{twin.seen.image} ({twin.seen.split}), {twin.correlation:.3f}"
            )
        )
    if found:
        typer.echo(
            f"{len(found)} held-out pictures have a near-identical one in an earlier split: a "
            "test on them flatters. Leave the others of these pairs out of the training.",
            err=True,
        )
        raise typer.Exit(1)
    typer.echo("No near-identical pictures in different splits.")


@app.command("degrade")
def degrade(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTOS...", help="Photographs, or folders of them.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Folder to write pictures and manifest.csv to."
        ),
    ],
    distortion: Annotated[
        list[str] | None,
        typer.Option(
            help="A degradation, such as blur; repeat it for more.", show_default="all 12"
        ),
    ] = None,
    severity: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            max=5,
            help="A severity from 1 (slight) to 5 (catastrophic); repeat it for more.",
            show_default="all five",
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=16,
            help="Shrink the longer edge to at most this many pixels.",
            show_default="as it is",
        ),
    ] = None,
    per_photo: Annotated[
        int | None,
        typer.Option(
            min=1, help="Draw at most this many degradations per photograph.", show_default="all"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise and of the draws.")] = 0,
    split: Annotated[
        str, typer.Option(help="Split of all rows: train, val or test.", show_default="none")
    ] = "",
) -> None:
    """Degrade photographs, and write a manifest of the pictures with scores.

    Each score is what people gave to such a degradation on average (KADID-10k). The same command
    resumes where it was stopped.

    Example: rali data degrade photos/ -o degraded/ --size 512 --distortion blur --distortion noise
    """
    from rali.data.degraded import degrade_folder
    from rali.data.manifest import write_manifest
    from rali.data.splits import split_name
    from rali.pictures.degrade import DISTORTIONS, canonical
    from rali.pictures.paths import as_text
    from rali.pictures.read import find_pictures
    from rali.runs.progress import StageProgress

    split = split_name(split, "--split")
    names = [canonical(name) for name in distortion or DISTORTIONS]
    pictures = find_pictures(photos)
    if not pictures:
        raise InputError(f"There are no pictures in {', '.join(map(str, photos))}.")
    with warnings.catch_warnings(record=True) as left_out, StageProgress() as progress:
        warnings.simplefilter("always")
        rows = degrade_folder(
            pictures,
            output,
            distortions=list(dict.fromkeys(names)),
            severities=sorted(set(severity or range(1, 6))),
            size=size,
            per_photograph=per_photo,
            seed=seed,
            progress=progress,
        )
    write_manifest([dataclasses.replace(row, split=split) for row in rows], output / "manifest.csv")
    written = as_text(str(output / "manifest.csv"))
    typer.echo(f"{written}: {len(rows)} pictures of {len(pictures)} photographs.")
    unread = [str(entry.message) for entry in left_out if "left out" in str(entry.message)]
    if unread:
        typer.echo(f"rali: {unread[0]}", err=True)
        raise typer.Exit(1)


@app.command("rationales")
def rationales(
    manifest: Manifest,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Folder to write the triplets to."),
    ],
    count: Annotated[int, typer.Option(min=1, help="Number of texts per picture.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="A different seed adds different texts.")] = 0,
    split: Annotated[
        str | None,
        typer.Option(
            help="Take only the rows of this split: train, val or test.", show_default="all rows"
        ),
    ] = None,
) -> None:
    """Write reference rationales: texts from measures and known degradations, without a teacher.

    The same command resumes where it was stopped.

    Example: rali data rationales manifest.csv --split train --count 4 -o triplets/
    """
    from rali.data.manifest import read_manifest, select
    from rali.data.reference_rationales import build_reference_triplets
    from rali.runs.folder import alone_in
    from rali.runs.progress import StageProgress

    rows = select(read_manifest(manifest), split)
    if not rows:
        raise InputError(
            f"{manifest} has no rows" + (f" of the split {split!r}." if split else ".")
        )
    with alone_in(output), StageProgress() as progress:
        new = build_reference_triplets(rows, output, count=count, seed=seed, progress=progress)
    typer.echo(f"{output}: {new} new triplets of {len(rows)} pictures.")
