"""`rali data`: manifests from releases, splits, checks, degraded pictures, reference rationales."""

from __future__ import annotations

import warnings
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rali.errors import InputError

if TYPE_CHECKING:
    from rali.manifest import Row

app = typer.Typer(
    no_args_is_help=True,
    help="Make manifests, split and check them, degrade photographs, write reference rationales.",
)
import_app = typer.Typer(
    no_args_is_help=True,
    help="Turn a data set's release into a manifest (.csv or .parquet) with scores on 1–5.",
)
app.add_typer(import_app, name="import")

Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="The manifest: .csv or .parquet.")
]
Images = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Folder that the names are relative to.", show_default="FILE's"
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Name of the data set.", show_default="from the path"),
]
LabelsOnly = Annotated[
    bool, typer.Option("--labels-only", help="Do not ask for the pictures to be there.")
]
RANGE_HELP = (
    "Native scores of the worst and the best quality in the full release; high to low where lower "
    "is better."
)
Range = Annotated[tuple[float, float], typer.Option("--range", help=RANGE_HELP)]
Manifest = Annotated[Path, typer.Argument(metavar="MANIFEST", help="A .csv or .parquet manifest.")]


@import_app.command("csv")
def import_csv(
    table: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV with a header.")],
    output: Output,
    images: Images = None,
    image: Annotated[str, typer.Option(metavar="COLUMN", help="Picture's file name.")] = "image",
    score: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Score.", show_default="none, unlabelled")
    ] = None,
    score_range: Annotated[
        tuple[float, float] | None, typer.Option("--range", help=RANGE_HELP)
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Standard deviation, in the score's units.")
    ] = None,
    content: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Scene, reference or prompt.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="train, val(idation), test or empty.")
    ] = None,
    dataset: Dataset = None,
    labels_only: LabelsOnly = False,
) -> None:
    """Any CSV, by naming its columns.

    Example: rali data import csv index.csv --images photos/ --image image --score mos
    --range 0 1 --content scene --split split -o manifest.csv
    """
    from rali.importers import csv_columns

    rows = csv_columns.read(
        table,
        images=images,
        image=image,
        score_column=score,
        score_range=score_range,
        std=std,
        content=content,
        split=split,
        dataset=dataset,
        labels_only=labels_only,
    )
    _write(rows, output)


@import_app.command("biq2021")
def import_biq2021(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the CSV and pictures.")],
    output: Output,
    by_subset: Annotated[
        bool, typer.Option("--by-subset", help="A data set per subset: biq2021-ss01, -ss02, -ss03.")
    ] = False,
    labels_only: LabelsOnly = False,
) -> None:
    """BIQ2021: index.csv and images/, or the release's Train and Test CSV and Images/.

    Example: rali data import biq2021 BIQ2021/ -o biq2021.csv
    """
    from rali.importers import biq2021

    _write(biq2021.read(root, by_subset=by_subset, labels_only=labels_only), output)


@import_app.command("koniq10k")
def import_koniq10k(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the CSV and pictures.")],
    output: Output,
    resolution: Annotated[
        str | None,
        typer.Option(help="1024x768 or 512x384.", show_default="the first that is there"),
    ] = None,
    labels_only: LabelsOnly = False,
) -> None:
    """KonIQ-10k: koniq10k_distributions_sets.csv (with the official split) and 1024x768/.

    koniq10k_scores_and_distributions.csv is read where the first file is missing; it has no split.

    Example: rali data import koniq10k koniq10k/ -o koniq.csv
    """
    from rali.importers import koniq10k

    _write(koniq10k.read(root, resolution=resolution, labels_only=labels_only), output)


def _add_release(name: str, layout: str, reader: str) -> None:
    """A command for a release that needs nothing but its folder."""

    def command(
        root: Annotated[Path, typer.Argument(metavar="DIR", help="Its folder, or score file.")],
        output: Output,
        labels_only: LabelsOnly = False,
    ) -> None:
        from rali import importers

        module, _, function = reader.partition(".")
        read = getattr(getattr(importers, module), function or "read")
        _write(read(root, labels_only=labels_only), output)

    command.__doc__ = f"{layout}\n\nExample: rali data import {name} DIR -o {name}.csv"
    import_app.command(name)(command)


for _name, _layout, _reader in (
    ("agiqa3k", "AGIQA-3K: data.csv and the pictures beside it.", "agiqa3k"),
    ("bid", "BID: DatabaseGrades.xls and DatabaseImage0001.JPG, ….", "bid"),
    ("csiq", "CSIQ: csiq.DMOS.xlsx, dst_imgs/ and src_imgs/.", "csiq"),
    ("kadid10k", "KADID-10k: dmos.csv, or VisualQuality-R1's lists, and images/.", "kadid10k"),
    ("liu13", "Liu13: VisualQuality-R1's list and the pictures beside it.", "lists.read_liu13"),
    ("livec", "LIVE In the Wild: Data/All…_release.mat and Images/.", "livec"),
    ("min19", "Min19: VisualQuality-R1's list and the pictures beside it.", "lists.read_min19"),
    ("pipal", "PIPAL: Train_Label/, Distortion_1/ … and Train_Ref/.", "pipal"),
    ("spaq", "SPAQ: Annotations/MOS and Image attribute scores.xlsx and TestImage/.", "spaq"),
    ("sriqa-bench", "SRIQA-Bench: MOS/ and images/.", "sriqa_bench"),
    ("tid2013", "TID2013: mos_with_names.txt, distorted_images/, reference_images/.", "tid2013"),
):
    _add_release(_name, _layout, _reader)


@import_app.command("dq495k")
def import_dq495k(
    meta: Annotated[Path, typer.Argument(metavar="FILE", help="The JSON list.")],
    output: Output,
    images: Images = None,
    labels_only: LabelsOnly = False,
) -> None:
    """DQ-495K: a JSON list of pictures with their degradation; no scores.

    Example: rali data import dq495k dq495k.json --images DQ-495K/ -o dq495k.parquet
    """
    from rali.importers import dq495k

    _write(dq495k.read(meta, images=images, labels_only=labels_only), output)


@import_app.command("kadis700k")
def import_kadis700k(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with dist_imgs/.")],
    output: Output,
) -> None:
    """KADIS-700k, or a folder made like it: dist_imgs/ and ref_imgs/; no scores.

    Example: rali data import kadis700k kadis700k/ -o kadis.parquet
    """
    from rali.importers import kadis

    _write(kadis.read(root), output)


@import_app.command("q-insight-comparisons")
def import_comparisons(
    meta: Annotated[Path, typer.Argument(metavar="FILE", help="The JSON list.")],
    output: Output,
    images: Images = None,
    labels_only: LabelsOnly = False,
) -> None:
    """Q-Insight's comparisons of DiffIQA's pictures, to a table of pairs.

    Example: rali data import q-insight-comparisons train_comparison.json --images DiffIQA/
    -o pairs.csv
    """
    from rali.importers import comparisons
    from rali.manifest import write_pairs

    pairs = comparisons.read(meta, images=images, labels_only=labels_only)
    write_pairs(pairs, output)
    typer.echo(f"{output}: {len(pairs)} pairs.")


@import_app.command("meta-info")
def import_meta_info(
    meta_info: Annotated[Path, typer.Argument(metavar="FILE", help="A meta_info_….csv.")],
    output: Output,
    score_range: Range,
    images: Images = None,
    references: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the references.", show_default="--images"),
    ] = None,
    dataset: Dataset = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Split.", show_default="`split` where there is one"),
    ] = None,
    labels_only: LabelsOnly = False,
) -> None:
    """pyiqa's lists: `name,mos,std,…`, or `ref,dist,mos,…`, with or without a header.

    Example: rali data import meta-info meta_info_CSIQDataset.csv --images CSIQ/dst_imgs
    --references CSIQ/src_imgs --range 1 0 -o csiq.csv
    """
    from rali.importers import meta_info as importer

    rows = importer.read(
        meta_info,
        score_range=score_range,
        images=images,
        references=references,
        dataset=dataset,
        split=split,
        labels_only=labels_only,
    )
    _write(rows, output)


@import_app.command("deqa")
def import_deqa(
    meta: Annotated[Path, typer.Argument(metavar="FILE", help="A JSON list of pictures.")],
    output: Output,
    images: Images = None,
    score_range: Annotated[
        tuple[float, float] | None,
        typer.Option("--range", help=RANGE_HELP, show_default="take gt_score_norm as it is"),
    ] = None,
    dataset: Dataset = None,
    split: Annotated[str, typer.Option(help="Split of all rows: train, val or test.")] = "",
    labels_only: LabelsOnly = False,
) -> None:
    """DeQA-Score's JSON metas: [{image, gt_score, gt_score_norm, std, …}, …].

    Example: rali data import deqa test_koniq_2k.json --images Data-DeQA-Score/ --split test
    -o koniq_test.csv
    """
    from rali.importers import deqa

    rows = deqa.read(
        meta,
        images=images,
        score_range=score_range,
        dataset=dataset,
        split=split,
        labels_only=labels_only,
    )
    _write(rows, output)


@import_app.command("folder")
def import_folder(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of pictures.")],
    output: Output,
    recursive: Annotated[bool, typer.Option(help="Also the folders inside.")] = True,
    dataset: Dataset = None,
) -> None:
    """A folder of pictures without scores.

    Example: rali data import folder photos/ -o photos.csv
    """
    from rali.importers import folder

    _write(folder.read(root, recursive=recursive, dataset=dataset), output)


@app.command("list")
def list_releases() -> None:
    """The data sets that `rali data import` reads: size, scale, licence, and where to ask for them.

    Example: rali data list
    """
    from rali.importers import RELEASES

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
    from rali.manifest import read_manifest
    from rali.splits import assign_splits

    try:
        parts = [float(part) for part in fractions.split(":")]
    except ValueError as error:
        raise typer.BadParameter(
            f"{fractions!r} is not numbers between colons; type 6:2:2 or 8:2.",
            param_hint="--fractions",
        ) from error
    # A manifest whose contents straddle its splits is what this command is there to mend.
    rows = read_manifest(manifest, check_straddling=False)
    _write(assign_splits(rows, parts, seed), output)


@app.command("check")
def check(
    manifest: Manifest,
    files: Annotated[bool, typer.Option(help="Look whether the pictures are there.")] = True,
) -> None:
    """Validate a manifest and say what it holds. Exit code 1 if pictures are missing, 2 if invalid.

    Example: rali data check manifest.csv
    """
    from rali.manifest import read_manifest

    rows = read_manifest(manifest)
    _summary(rows)
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
) -> None:
    """Degrade photographs: pictures and a manifest with scores. Started again, it goes on.

    Example: rali data degrade photos/ -o degraded/ --size 512 --distortion blur --distortion noise
    """
    from rali.degradations import DISTORTIONS, canonical, degrade_folder
    from rali.manifest import write_manifest
    from rali.pictures import find_pictures
    from rali.progress import StageProgress

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
    write_manifest(rows, output / "manifest.csv")
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
    from rali.errors import InputError
    from rali.manifest import read_manifest, select
    from rali.progress import StageProgress
    from rali.reference import build_reference_triplets

    rows = select(read_manifest(manifest), split)
    if not rows:
        raise InputError(
            f"{manifest} has no rows" + (f" of the split {split!r}." if split else ".")
        )
    with StageProgress() as progress:
        new = build_reference_triplets(
            rows,
            output,
            count=count,
            seed=seed,
            progress=lambda done, total: progress("rationales", done, total),
        )
    typer.echo(f"{output}: {new} new triplets of {len(rows)} pictures.")


def _write(rows: list[Row], output: Path) -> None:
    from rali.manifest import write_manifest

    write_manifest(rows, output)
    _summary(rows)
    typer.echo(f"{output}: {len(rows)} rows.")


def _summary(rows: list[Row]) -> None:
    """A table: pictures, contents and scores per data set and split."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.dataset, row.split].append(row)
    order = ["train", "val", "test", ""]
    table = Table()
    for heading in ("data set", "split"):
        table.add_column(heading)
    for heading in ("pictures", "contents", "with score", "scores"):
        table.add_column(heading, justify="right")
    for dataset, split in sorted(groups, key=lambda key: (key[0], order.index(key[1]))):
        members = groups[dataset, split]
        scores = [row.score for row in members if row.score is not None]
        table.add_row(
            Text(dataset or "–"),
            split or "–",
            str(len(members)),
            str(len({row.content or str(row.image) for row in members})),
            str(len(scores)),
            f"{min(scores):.2f}–{max(scores):.2f}" if scores else "–",
        )
    Console().print(table)
