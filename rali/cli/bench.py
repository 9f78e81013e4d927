"""`rali bench`: size, speed and memory of students in every precision."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from rali.errors import InputError
from rali.scoring.model_folder import PRECISIONS

from ._output import FIGURES, check_output

MEASURED = ("fp32", "int8", "int8-dynamic")  # precisions, where none is given


def bench(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="Model folders, Hub ids, `builtin`, or names of encoders such as ViT-B-32, which "
            "get random weights.",
            show_default="builtin",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Precision of the ONNX file: {', '.join(PRECISIONS)}. Repeat for more.",
            show_default=", ".join(MEASURED),
        ),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Pictures per run. Repeat for more.", show_default="1, 4"),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="Times that each measurement is repeated.")
    ] = 5,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU cores to use.", show_default="all")
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="Pictures with human scores, to measure agreement, pictures per second and memory."
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Use only this split of the manifest.", show_default="all")
    ] = None,
    photographs: Annotated[
        Path | None,
        typer.Option(
            help="Folder of undegraded photographs that the model was not trained on, to measure "
            "resizing, the browser and explanations."
        ),
    ] = None,
    count: Annotated[
        int, typer.Option(min=2000, help="Pictures to score while memory is watched.")
    ] = 50_000,
    plot: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, help="File to write: speed against memory, as .png, .pdf or .svg."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure size, speed and memory of models, in turns with torch's float32.

    With --manifest and --photographs it also checks the bars that rali's models
    have to reach.

    Example: rali bench builtin ViT-B-32 --plot speed.png
    """
    from rali.evaluation.evaluate import labelled_rows
    from rali.export.measure.promises import Material, bars
    from rali.export.measure.speed import as_rows, prepare
    from rali.export.measure.speed import bench as run
    from rali.pictures.read import find_pictures
    from rali.report.canvas import save_figure
    from rali.report.plots import tradeoff
    from rali.runs.progress import StageProgress
    from rali.scoring.scorer import available_cores

    if plot:
        check_output(plot, FIGURES)
    rows = [] if manifest is None else labelled_rows([manifest], split=split)
    pictures = [] if photographs is None else find_pictures([photographs])
    if photographs is not None and not pictures:
        raise InputError(f"There are no pictures in the folder {photographs}.")
    cores = threads or available_cores()
    precisions = precision or MEASURED
    machine: dict[str, Any] = {
        "machine": platform.machine(),
        "threads": cores,
        "python": platform.python_version(),
        **{name: version(name) for name in ("rali", "torch", "onnxruntime")},
        "rounds": rounds,
    }
    with tempfile.TemporaryDirectory() as folder, StageProgress(resumes=False) as progress:
        subjects = prepare(models or ["builtin"], Path(folder), precisions, progress)
        found = run(
            subjects, batches=batch or (1, 4), rounds=rounds, threads=cores, progress=progress
        )
        table = as_rows(found)
        # Printed now, so that a stop later loses nothing.
        typer.echo(", ".join(f"{name} {value}" for name, value in machine.items()), err=as_json)
        shown = _markdown([[*table[0]], *(row.values() for row in table)])
        typer.echo("\n" + shown, err=as_json)
        student = next((each for each in subjects if each.trained), None)
        material = student and Material(student, rows, pictures, count, cores, rounds)
        reached = bars(found, material, progress)
    if plot:
        points = {
            (row.model, f"{row.precision}, batch {row.batch}"): (1 / row.seconds, row.peak)
            for row in found
        }
        save_figure(
            tradeoff(
                points,
                x="pictures per second",
                y="peak memory, MiB",
                title="rali bench",
                best="lower right",
            ),
            plot,
        )
    if as_json:
        report = {**machine, "rows": table, "bars": [asdict(bar) for bar in reached]}
        typer.echo(json.dumps(report, indent=1, ensure_ascii=False))
    elif rows or pictures:
        verdict = {True: "met", False: "missed", None: "not measured"}
        lines = [
            (
                bar.what,
                bar.bar,
                ", ".join(f"{name} {value:.4g}" for name, value in bar.measured.items()) or bar.why,
                verdict[bar.met],
            )
            for bar in reached
        ]
        typer.echo("\n" + _markdown([["what", "bar", "measured", ""], *lines]))


def _markdown(lines: Iterable[Iterable[object]]) -> str:
    """A table; its first line is the heading."""
    heading, *rest = ("| " + " | ".join(map(str, line)) + " |" for line in lines)
    return "\n".join([heading, "|" + " --- |" * (heading.count(" | ") + 1), *rest])
