"""An evaluation as a table in the terminal or in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

LABELS = {
    "srcc": "SRCC",
    "plcc": "PLCC (raw)",
    "plcc_logistic": "PLCC (logistic)",
    "krcc": "KRCC",
    "rmse": "RMSE",
}

NOTE = (
    "In brackets: 95 % bootstrap interval over pictures. SRCC: Spearman; KRCC: Kendall's tau-b. "
    "PLCC (raw): Pearson on the scores as they are; PLCC (logistic): after the 4-parameter VQEG "
    "logistic fitted to the same pictures. RMSE: raw scores, 1 to 5."
)


def to_table(evaluation: Mapping[str, Any]) -> Table:
    """The evaluation as a rich table, one line per data set and their average.

    Intervals have two decimals here, so that the table fits into 80 columns.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = Text(_title(evaluation))  # as text: "[" in a name is not markup
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0)
    table.add_column("data set", overflow="fold", min_width=8)
    table.add_column("n", justify="right")
    for label in LABELS.values():
        table.add_column(label.replace(" ", "\n"), justify="right")
    for line in _lines(evaluation, newline="\n", digits=2):
        table.add_row(*(Text(cell) for cell in line))
    return table


def to_markdown(evaluation: Mapping[str, Any]) -> str:
    """The evaluation as a Markdown section: title, table, what the columns mean."""
    header = ["data set", "n", *LABELS.values()]
    rows = [header, ["---", *["---:"] * (len(header) - 1)], *_lines(evaluation, newline=" ")]
    lines = ["| " + " | ".join(map(escaped, row)) + " |" for row in rows]
    notes = escaped(" ".join([NOTE, *remarks(evaluation)]))
    return "\n".join([f"## {escaped(_title(evaluation))}", "", *lines, "", notes, ""])


def remarks(evaluation: Mapping[str, Any]) -> list[str]:
    """Sentences on what is particular in this evaluation; often none."""
    sentences = []
    straight = [n for n, numbers in evaluation["datasets"].items() if numbers["logistic"] is None]
    if straight:
        sentences.append(
            f"No logistic could be fitted to {', '.join(straight)}: "
            "PLCC (logistic) is PLCC (raw) there."
        )
    if "interval" in evaluation:
        told = evaluation["interval"]
        held = ", ".join(f"{name} {share:.1%}" for name, share in told["coverage"].items())
        sentences.append(
            f"Human scores within the {told['level']:.0%} interval (±{told['radius']:.2f}): {held}."
        )
    if "unscored" in evaluation:
        told = evaluation["unscored"]
        sentences.append(f"Pictures that got no score and count as {told['as']:g}: {told['n']}.")
    if evaluation.get("unlabelled"):
        sentences.append(f"Rows without a score, skipped: {evaluation['unlabelled']}.")
    return sentences


def escaped(text: str) -> str:
    """A name that can break neither a Markdown table nor its page."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def _title(evaluation: Mapping[str, Any]) -> str:
    rows = f"split {evaluation['split']}" if evaluation.get("split") else "all rows"
    return f"{evaluation.get('model', 'Predictions')} on {rows}"


def _lines(evaluation: Mapping[str, Any], newline: str, digits: int = 3) -> list[list[str]]:
    lines = []
    for name, numbers in evaluation["datasets"].items():
        cells = []
        for metric in LABELS:
            low, high = numbers["intervals"][metric]
            cells.append(f"{numbers[metric]:.3f}{newline}[{low:.{digits}f}, {high:.{digits}f}]")
        lines.append([name, str(numbers["n"]), *cells])
    if len(lines) > 1 and "average" in evaluation:
        average = [f"{evaluation['average'][metric]:.3f}" for metric in LABELS]
        lines.append(["average", str(evaluation["n"]), *average])
    return lines
