"""`rali data import`: a command per data set, and commands for tables, lists and folders.

The data sets' commands are made from `rali.data.importers.RELEASES`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ._local import local_paths
from ._manifest import Output, write_pairs, write_rows

if TYPE_CHECKING:
    from rali.data.importers import Release

Root = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="The data set's folder, or (for most) its score file."),
]
Images = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder that the names of pictures are relative to.",
        show_default="the list's folder",
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Name of the data set in the manifest.", show_default="from the path"
    ),
]
SplitName = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=SPLIT",
        help="What a name in the column of the split means, as in 0=train; repeat it for more.",
        show_default="train(ing), val(idation), test",
    ),
]
LabelsOnly = Annotated[
    bool,
    typer.Option("--labels-only", help="Do not check that the pictures are there."),
]
RANGE_HELP = (
    "Native scores of the worst and the best quality in the full release; high to low where lower "
    "is better."
)
Range = Annotated[
    tuple[float, float], typer.Option("--range", metavar="WORST BEST", help=RANGE_HELP)
]
# A keyword of a release's `read` → the option that sets it.
KEYWORDS: dict[str, Any] = {
    "images": Images,
    "labels_only": LabelsOnly,
    "by_subset": Annotated[
        bool,
        typer.Option(
            "--by-subset",
            help="Make each subset a data set of its own: biq2021-ss01, -ss02, -ss03.",
        ),
    ],
    "resolution": Annotated[
        str | None,
        typer.Option(
            help="Folder of the pictures: 1024x768 or 512x384.",
            show_default="the first that is there",
        ),
    ],
}


def _release_command(release: Release) -> Callable[..., None]:
    """A release's command: its folder, the output, and an option per keyword of its `read`."""

    def command(root: Root, output: Output, **keywords: Any) -> None:
        write = write_pairs if release.pairs else write_rows
        write(release.read(root, **keywords), output)

    root, output, _ = inspect.signature(command, eval_str=True).parameters.values()
    _, *keywords = inspect.signature(release.read).parameters.values()
    options = [keyword.replace(annotation=KEYWORDS[keyword.name]) for keyword in keywords]
    command.__signature__ = inspect.Signature([root, output, *options])  # type: ignore[attr-defined]
    table = "pairs" if release.pairs else release.name
    command.__doc__ = (
        f"Read {release.title}: {release.layout}.\n\n"
        f"Example: rali data import {release.name} DIR -o {table}.csv"
    )
    return command


class _WithReleases(TyperGroup):
    """Adds a command per release once one is looked up: other commands start without importers."""

    def _add_releases(self) -> None:
        from rali.data.importers import RELEASES

        releases = typer.Typer(rich_markup_mode=self.rich_markup_mode)
        for name, release in RELEASES.items():
            releases.command(name, rich_help_panel="Data sets")(_release_command(release))
        local_paths(releases)
        self.commands.update(typer.main.get_group(releases).commands)

    def list_commands(self, ctx: Any) -> list[str]:
        self._add_releases()
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands:
            self._add_releases()
        return super().get_command(ctx, cmd_name)


app = typer.Typer(
    cls=_WithReleases,
    no_args_is_help=True,
    help="Turn a data set into a manifest (.csv or .parquet) with scores from 1 to 5.\n\n"
    "Example: rali data import koniq10k koniq10k/ -o koniq.csv",
)


@app.command("csv")
def import_csv(
    table: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV with a header.")],
    output: Output,
    images: Images = None,
    image: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column of the picture's file name.")
    ] = "image",
    score: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of the score.", show_default="no scores"),
    ] = None,
    score_range: Annotated[
        tuple[float, float] | None,
        typer.Option("--range", metavar="WORST BEST", help=f"{RANGE_HELP} Needed with --score."),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Column of the standard deviation, in the score's units."
        ),
    ] = None,
    content: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of what must not straddle a split: scene, reference or prompt.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of the split: train(ing), val(idation), test or empty.",
        ),
    ] = None,
    split_name: SplitName = None,
    dataset: Dataset = None,
    labels_only: LabelsOnly = False,
) -> None:
    """Read any CSV by the names of its columns.

    Example: rali data import csv index.csv --images photos/ --image image --score mos
    --range 0 1 --content scene --split split -o manifest.csv
    """
    from rali.data.importers import csv_columns
    from rali.data.splits import split_names

    rows = csv_columns.read(
        table,
        images=images,
        image=image,
        score_column=score,
        score_range=score_range,
        std=std,
        content=content,
        split=split,
        split_names=split_names(split_name or [], "--split-name"),
        dataset=dataset,
        labels_only=labels_only,
    )
    write_rows(rows, output)


@app.command("meta-info")
def import_meta_info(
    meta_info: Annotated[Path, typer.Argument(metavar="FILE", help="A meta_info_….csv.")],
    output: Output,
    score_range: Range,
    images: Images = None,
    references: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of the reference pictures.", show_default="--images"
        ),
    ] = None,
    dataset: Dataset = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of the split: train(ing), val(idation), test or empty.",
            show_default="split, if there is one",
        ),
    ] = None,
    split_name: SplitName = None,
    labels_only: LabelsOnly = False,
) -> None:
    """Read a list of pyiqa: `name,mos,std,…` or `ref,dist,mos,…`, with or without a header.

    Example: rali data import meta-info meta_info_CSIQDataset.csv --images CSIQ/dst_imgs
    --references CSIQ/src_imgs --range 1 0 -o csiq.csv
    """
    from rali.data.importers import meta_info as importer
    from rali.data.splits import split_names

    rows = importer.read(
        meta_info,
        score_range=score_range,
        images=images,
        references=references,
        dataset=dataset,
        split=split,
        split_names=split_names(split_name or [], "--split-name"),
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
        typer.Option(
            "--range",
            metavar="WORST BEST",
            help=f"{RANGE_HELP} With it, gt_score is rescaled.",
            show_default="gt_score_norm is taken as it is",
        ),
    ] = None,
    dataset: Dataset = None,
    split: Annotated[
        str, typer.Option(help="Split of all rows: train, val or test.", show_default="none")
    ] = "",
    labels_only: LabelsOnly = False,
) -> None:
    """Read a list of DeQA-Score: JSON of {image, gt_score, gt_score_norm, std, …}.

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
    recursive: Annotated[
        bool, typer.Option(help="Also take the pictures in folders inside.")
    ] = True,
    dataset: Dataset = None,
) -> None:
    """Take the pictures of a folder, without scores.

    Example: rali data import folder photos/ -o photos.csv
    """
    from rali.data.importers import folder

    write_rows(folder.read(root, recursive=recursive, dataset=dataset), output)
