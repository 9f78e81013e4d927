"""`rali data`: manifests from releases, splits, checks, degraded pictures, reference rationales."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Annotated

import typer

from rali.errors import InputError

from . import data_import as _imports
from ._manifest import Output, print_summary, write_rows

app = typer.Typer(
    no_args_is_help=True,
    help="Make manifests, split and check them, degrade photographs, write reference rationales.",
)
app.add_typer(_imports.app, name="import")

Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="A .csv or .parquet manifest.")]


@app.command("list")
def list_releases() -> None:
    """The data sets that `rali data import` reads: size, scale, licence, and where to ask for them.

    Example: rali data list
    """
    from rali.data.importers import RELEASES

    for release in RELEASES.values():
        typer.echo(
            f"{release.name}\n"
            f"    {release.title}, {release.pictures:,}; {release.scale}\n"
            f"    content: {release.content}; split: {release.split}\n"
            f"    licence: {release.licence}; from: {release.home}"
        )


@app.command("split")
def split_manifest(
    manifest: Manifest,
    output: Output,
    fractions: Annotated[
        str, typer.Option(metavar="A:B:C", help="train:val:test, or train:test as in 8:2.")
    ] = "6:2:2",
    seed: Annotated[int, typer.Option(help="Another seed, another assignment.")] = 0,
) -> None:
    """Assign train, val and test by content; splits that are there are replaced.

    The assignment depends on the seed, the data sets' names, the contents and nothing else.

    Example: rali data split manifest.csv --fractions 6:2:2 -o split.csv
    """
    from rali.data.manifest import read_manifest
    from rali.data.splits import assign_splits

    try:
        parts = [float(part) for part in fractions.split(":")]
    except ValueError as error:
        raise typer.BadParameter(
            f"{fractions!r} is not numbers between colons; type 6:2:2 or 8:2.",
            param_hint="--fractions",
        ) from error
    # A manifest whose contents straddle its splits is what this command is there to mend.
    rows = read_manifest(manifest, check_straddling=False)
    write_rows(assign_splits(rows, parts, seed), output)


@app.command("check")
def check(
    manifest: Manifest,
    files: Annotated[bool, typer.Option(help="Look whether the pictures are there.")] = True,
) -> None:
    """Validate a manifest and say what it holds. Exit code 1 if pictures are missing, 2 if invalid.

    Example: rali data check manifest.csv
    """
    from rali.data.manifest import read_manifest

    rows = read_manifest(manifest)
    print_summary(rows)
    missing = [row.image for row in rows if files and not row.image.is_file()]
    if missing:
        first = ", ".join(str(path) for path in missing[:3]) + (", …" if len(missing) > 3 else "")
        typer.echo(f"{len(missing)} of {len(rows)} pictures are missing: {first}", err=True)
        raise typer.Exit(1)


@app.command("degrade")
def degrade(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTOS...", help="Photographs, or folders of them.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Folder of pictures and manifest.csv."),
    ],
    distortion: Annotated[
        list[str] | None, typer.Option(help="A class; repeat for more.", show_default="all 12")
    ] = None,
    severity: Annotated[
        list[int] | None,
        typer.Option(
            min=1, max=5, help="1 (slight) to 5; repeat for more.", show_default="all five"
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=16, help="Longest edge in pixels.", show_default="as it is")
    ] = None,
    per_photo: Annotated[
        int | None,
        typer.Option(min=1, help="Draw so many degradations per photo.", show_default="all"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise and the draws.")] = 0,
    split: Annotated[
        str, typer.Option(help="Split of all rows: train, val or test.", show_default="none")
    ] = "",
) -> None:
    """Degrade photographs: pictures and a manifest with scores. Started again, it goes on.

    Example: rali data degrade photos/ -o degraded/ --size 512 --distortion blur --distortion noise
    """
    from rali.data.degraded import degrade_folder
    from rali.data.importers._common import split_name
    from rali.data.manifest import write_manifest
    from rali.pictures.degrade import DISTORTIONS, canonical
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
            progress=lambda done, total: progress("degrade", done, total),
        )
    write_manifest([dataclasses.replace(row, split=split) for row in rows], output / "manifest.csv")
    typer.echo(f"{output / 'manifest.csv'}: {len(rows)} pictures of {len(pictures)} photographs.")
    unread = [str(entry.message) for entry in left_out if "left out" in str(entry.message)]
    if unread:
        typer.echo(f"rali: {unread[0]}", err=True)
        raise typer.Exit(1)


@app.command("rationales")
def rationales(
    manifest: Manifest,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the triplets.")
    ],
    count: Annotated[int, typer.Option(min=1, help="Texts per picture.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Another seed adds other texts.")] = 0,
    split: Annotated[
        str | None, typer.Option(help="Only rows of this split: train, val or test.")
    ] = None,
) -> None:
    """Write reference rationales (from measures, not from a teacher). Started again, it goes on.

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
        new = build_reference_triplets(
            rows,
            output,
            count=count,
            seed=seed,
            progress=lambda done, total: progress("rationales", done, total),
        )
    typer.echo(f"{output}: {new} new triplets of {len(rows)} pictures.")
