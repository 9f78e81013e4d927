"""`rali distill`: the four steps of RALI from a manifest and rationales."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def distill(
    manifest: Annotated[list[Path], typer.Argument(help="Manifests to train on (CSV or Parquet).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder.")],
    triplets: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of rationales; repeat for more.",
            show_default="reference rationales, written to OUTPUT/triplets",
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings as YAML, as in recipes/.")] = None,
    encoder: Annotated[
        str | None, typer.Option(help="'nano' or an open_clip name; overrides the config.")
    ] = None,
    pretrained: Annotated[
        str | None, typer.Option(help="open_clip tag, weights file, nano folder, or 'random'.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="One setting, as in align.epochs=5; repeat for more."),
    ] = None,
    count: Annotated[
        int, typer.Option(help="Reference rationales per picture, where none are given.", min=1)
    ] = 6,
    export: Annotated[bool, typer.Option(help="Write and check the ONNX file too.")] = True,
) -> None:
    """Distil a student: align, compress, find bases, fit scores, export.

    Pictures of split 'train' are trained on, 'val' chooses, 'test' is never read. The same
    command started again goes on where it was stopped.

    Example: rali distill manifest.csv --encoder nano -o runs/mine
    """  # fmt: skip
    from dataclasses import asdict

    from accelerate import PartialState

    from rali.data.manifest import read_manifest
    from rali.data.reference_rationales import build_reference_triplets, requested_triplets
    from rali.data.triplets import read_triplets
    from rali.distill.pipeline import DistillConfig, training_rows
    from rali.distill.pipeline import distill as run
    from rali.report.page import write_report
    from rali.runs.config import from_dict, read_yaml, with_overrides
    from rali.runs.folder import RunFolder, alone_in
    from rali.runs.progress import StageProgress

    values = read_yaml(config) if config else {}
    for name, value in (("encoder", encoder), ("pretrained", pretrained)):
        if value is not None:
            values[name] = value
    settings = from_dict(DistillConfig, with_overrides(values, set_ or []))
    rows = [row for path in manifest for row in read_manifest(path)]
    train, _ = training_rows(rows)
    with alone_in(output), StageProgress() as progress:
        if triplets:
            texts = [triplet for folder in triplets for triplet in read_triplets(folder)]
        else:
            asked = {"count": count, "seed": settings.seed}
            with PartialState().main_process_first():  # the others find them done
                build_reference_triplets(
                    train,
                    output / "triplets",
                    **asked,
                    progress=lambda i, n: progress("rationales", i, n),
                )
            texts = requested_triplets(train, output / "triplets", **asked)
        student = run(
            settings,
            rows,
            texts,
            output,
            trained_on=", ".join(sorted({row.dataset for row in train if row.dataset})),
            report=progress,
        )
        if student is None:  # not the first of several processes
            return
        if export:
            from rali.export import export_checked
            from rali.scoring.model_folder import onnx_file

            progress("export", 0, 1)
            path = onnx_file(output / "model")
            agreement = export_checked(student, path)
            progress("export", 1, 1)
    write_report(
        output / "report.html",
        title="rali distill",
        intro=f"A student of {settings.encoder}, trained on {', '.join(map(str, manifest))}.",
        stages=RunFolder(output).seconds(),
        metrics=RunFolder(output).metrics(),
        basis_vectors=student.basis_vectors.numpy(),
        basis_scores=student.basis_scores.numpy(),
        config=asdict(settings),
    )
    typer.echo(f"report: {output / 'report.html'}")
    typer.echo(f"model:  {output / 'model'}")
    if export:
        typer.echo(f"onnx:   {path} (largest difference {agreement.max_difference:.1e})")
    typer.echo(f"try:    rali evaluate {output / 'model'} {manifest[0]} --split test")
