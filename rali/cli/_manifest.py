"""What the commands that make manifests share: the output's option, writing, a summary."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rali.data.manifest import PairRow, Row

Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="File to write: .csv or .parquet.")
]


def write_rows(rows: list[Row], output: Path) -> None:
    """Write a manifest and print what it holds."""
    from rali.data.manifest import write_manifest
    from rali.pictures.paths import as_text

    write_manifest(rows, output)
    print_summary(rows)
    typer.echo(f"{as_text(str(output))}: {len(rows)} rows.")


def write_pairs(pairs: list[PairRow], output: Path) -> None:
    """Write a table of pairs and print how many there are."""
    from rali.data import manifest
    from rali.pictures.paths import as_text

    manifest.write_pairs(pairs, output)
    typer.echo(f"{as_text(str(output))}: {len(pairs)} pairs.")


def print_summary(rows: list[Row]) -> None:
    """Print a table: pictures, contents and scores per data set and split."""
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
