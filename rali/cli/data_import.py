"""`rali data import`: releases, lists, tables and folders to manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._manifest import Output, write_rows

app = typer.Typer(
    no_args_is_help=True,
    help="Turn a data set's release into a manifest (.csv or .parquet) with scores on 1–5.",
)

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


@app.command("csv")
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
    from rali.data.importers import csv_columns

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
    write_rows(rows, output)


@app.command("biq2021")
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
    from rali.data.importers import biq2021

    write_rows(biq2021.read(root, by_subset=by_subset, labels_only=labels_only), output)


@app.command("koniq10k")
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
    from rali.data.importers import koniq10k

    write_rows(koniq10k.read(root, resolution=resolution, labels_only=labels_only), output)


def _add_release(name: str, layout: str, reader: str) -> None:
    """A command for a release that needs nothing but its folder."""

    def command(
        root: Annotated[Path, typer.Argument(metavar="DIR", help="Its folder, or score file.")],
        output: Output,
        labels_only: LabelsOnly = False,
    ) -> None:
        from rali.data import importers

        module, _, function = reader.partition(".")
        read = getattr(getattr(importers, module), function or "read")
        write_rows(read(root, labels_only=labels_only), output)

    command.__doc__ = f"{layout}\n\nExample: rali data import {name} DIR -o {name}.csv"
    app.command(name)(command)


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


@app.command("dq495k")
def import_dq495k(
    meta: Annotated[Path, typer.Argument(metavar="FILE", help="The JSON list.")],
    output: Output,
    images: Images = None,
    labels_only: LabelsOnly = False,
) -> None:
    """DQ-495K: a JSON list of pictures with their degradation; no scores.

    Example: rali data import dq495k dq495k.json --images DQ-495K/ -o dq495k.parquet
    """
    from rali.data.importers import dq495k

    write_rows(dq495k.read(meta, images=images, labels_only=labels_only), output)


@app.command("kadis700k")
def import_kadis700k(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with dist_imgs/.")],
    output: Output,
) -> None:
    """KADIS-700k, or a folder made like it: dist_imgs/ and ref_imgs/; no scores.

    Example: rali data import kadis700k kadis700k/ -o kadis.parquet
    """
    from rali.data.importers import kadis

    write_rows(kadis.read(root), output)


@app.command("q-insight-comparisons")
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
    from rali.data.importers import comparisons
    from rali.data.manifest import write_pairs

    pairs = comparisons.read(meta, images=images, labels_only=labels_only)
    write_pairs(pairs, output)
    typer.echo(f"{output}: {len(pairs)} pairs.")


@app.command("meta-info")
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
    from rali.data.importers import meta_info as importer

    rows = importer.read(
        meta_info,
        score_range=score_range,
        images=images,
        references=references,
        dataset=dataset,
        split=split,
        labels_only=labels_only,
    )
    write_rows(rows, output)


@app.command("deqa")
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
    from rali.data.importers import deqa

    rows = deqa.read(
        meta,
        images=images,
        score_range=score_range,
        dataset=dataset,
        split=split,
        labels_only=labels_only,
    )
    write_rows(rows, output)


@app.command("folder")
def import_folder(
    root: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of pictures.")],
    output: Output,
    recursive: Annotated[bool, typer.Option(help="Also the folders inside.")] = True,
    dataset: Dataset = None,
) -> None:
    """A folder of pictures without scores.

    Example: rali data import folder photos/ -o photos.csv
    """
    from rali.data.importers import folder

    write_rows(folder.read(root, recursive=recursive, dataset=dataset), output)
