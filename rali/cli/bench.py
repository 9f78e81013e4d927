"""`rali bench`: size, speed and memory of students in every precision."""

from __future__ import annotations

import json
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from rali.cli._output import check_writable


def bench(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL...",
            help="Model folders, hub ids, builtin, or encoders with random weights (ViT-B-32).",
            show_default="builtin",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help="fp32, fp16, int8 or int8-dynamic; repeat for more.",
            show_default="fp32, int8, int8-dynamic",
        ),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Pictures per run; repeat for more.", show_default="1, 4"),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of every measurement.")] = 5,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Cores to use.", show_default="all")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="PNG of speed against memory to write.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON in place of a table.")
    ] = False,
) -> None:
    """Measure size, speed and memory, in turns and beside torch's own float32.

    Example: rali bench builtin ViT-B-32 --plot speed.png
    """
    from rali.export.bench import as_rows
    from rali.export.bench import bench as run
    from rali.plots import save_png, tradeoff
    from rali.progress import StageProgress
    from rali.scorer import available_cores

    if plot:
        check_writable(plot)
    cores = threads or available_cores()
    with tempfile.TemporaryDirectory() as folder, StageProgress() as progress:
        found = run(
            models or ["builtin"],
            Path(folder),
            precisions=precision or ("fp32", "int8", "int8-dynamic"),
            batches=batch or (1, 4),
            rounds=rounds,
            threads=cores,
            report=progress,
        )
    machine: dict[str, Any] = {
        "machine": platform.machine(),
        "threads": cores,
        "python": platform.python_version(),
        **{name: version(name) for name in ("rali", "torch", "onnxruntime")},
        "rounds": rounds,
    }
    if plot:
        points = {
            f"{row.model}, {row.precision}, batch {row.batch}": (1 / row.seconds, row.peak)
            for row in found
        }
        save_png(
            tradeoff(points, x="pictures per second", y="peak memory, MiB", title="rali bench"),
            plot,
        )
    rows = as_rows(found)
    if as_json:
        typer.echo(json.dumps({**machine, "rows": rows}, indent=1, ensure_ascii=False))
        return
    typer.echo(", ".join(f"{name} {value}" for name, value in machine.items()) + "; medians.\n")
    typer.echo("| " + " | ".join(rows[0]) + " |\n|" + " --- |" * len(rows[0]))
    for row in rows:
        typer.echo("| " + " | ".join(map(str, row.values())) + " |")
