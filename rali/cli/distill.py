"""`rali distill`: the four steps of RALI from a manifest and rationales."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._config import OptionalConfig

if TYPE_CHECKING:
    from rali.data.triplets import Triplet

COUNT = 6  # reference rationales per picture


def distill(
    manifest: Annotated[
        list[Path],
        typer.Argument(
            metavar="MANIFEST",
            help="Pictures to train on: a CSV, or a Parquet, .tar or .zip that may hold them.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="The run folder to write.")
    ],
    triplets: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="A folder of rationales; repeat for more.",
            show_default="reference rationales, written to DIR/triplets of the run",
        ),
    ] = None,
    config: OptionalConfig = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="'nano', 'timm/NAME', or a name of open_clip's, as NAME, NAME:TAG, "
            "hf-hub:OWNER/MODEL or local-dir:FOLDER; it overrides the config's.",
        ),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(
            metavar="WEIGHTS",
            help="The encoder's weights: a tag of open_clip's, a file, a Python package, a nano "
            "folder, or 'random'.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Change a setting, as in align.epochs=5; repeat for more. --dry-run lists them.",
        ),
    ] = None,
    count: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Reference rationales per picture, where no triplets are given.",
            min=1,
        ),
    ] = COUNT,
    export: Annotated[bool, typer.Option(help="Write and check the ONNX file too.")] = True,
    features: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Embeddings that you have, in place of an encoder: a .parquet, or a folder of "
            "them, with the columns image (as in the manifest) and embedding. The outcome is a "
            "head, which scores such embeddings.",
            show_default="none: an encoder is trained",
        ),
    ] = None,
    features_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --features, what made them, such as clip-vit-l-14; the head keeps it.",
            show_default="what the file says",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print every setting with its meaning, check, and stop."),
    ] = False,
) -> None:
    """Distil a student: align, compress, find bases, fit scores, export.

    Pictures of split 'train' are trained on, those of 'val' decide when to stop, those of 'test'
    are never read. The same command resumes a run that was stopped. With --features there is no
    encoder to align: the last steps are done on embeddings that you have.

    Example: rali distill manifest.csv --encoder nano -o runs/mine
    """
    from dataclasses import asdict

    from rali.data.manifest import read_manifest
    from rali.data.reference_rationales import build_reference_triplets, requested_triplets
    from rali.data.triplets import read_triplets
    from rali.distill.optim import processes
    from rali.distill.pipeline import DistillConfig
    from rali.distill.pipeline import distill as run
    from rali.distill.plan import plan
    from rali.distill.splits import training_rows
    from rali.report.page import write_report
    from rali.runs.config import describe, from_dict, read_yaml, with_overrides
    from rali.runs.folder import RunFolder, alone_in
    from rali.runs.progress import StageProgress
    from rali.student.encoders import find_pretrained

    values = read_yaml(config) if config else {}
    if features is not None or features_name is not None:
        from ._head import make_head

        given = {
            "--encoder": encoder, "--pretrained": pretrained, "--triplets": triplets,
            "--count": count != COUNT,
        }  # fmt: skip
        make_head(manifest, output, features, features_name, values, set_ or [], given, dry_run)
        return
    for name, value in (("encoder", encoder), ("pretrained", pretrained)):
        if value is not None:
            values[name] = value
    settings = from_dict(DistillConfig, with_overrides(values, set_ or []))
    rows = [row for path in manifest for row in read_manifest(path)]
    texts: list[Triplet] | None = None if settings.align.enabled else []  # nothing else reads them
    if triplets:
        texts = [triplet for folder in triplets for triplet in read_triplets(folder)]
    if dry_run:
        planned = plan(settings, rows, texts, count)
        typer.echo(f"{describe(settings)}\n\n{planned}")
        return
    train, _ = training_rows(rows)
    weights = find_pretrained(settings.encoder, settings.pretrained or None)
    typer.echo(f"encoder: {settings.encoder}, weights {weights or 'random'}", err=True)
    with alone_in(output), StageProgress() as progress:
        if texts is None:
            asked = {"count": count, "seed": settings.seed}
            with processes().main_process_first():  # the others find them done
                build_reference_triplets(train, output / "triplets", **asked, progress=progress)
            texts = requested_triplets(train, output / "triplets", **asked)
        student = run(
            settings,
            rows,
            texts,
            output,
            trained_on=", ".join(sorted({row.dataset for row in train if row.dataset})),
            progress=progress,
        )
        if student is None:  # not the first of several processes
            return
        if export:
            from rali.export import export_checked
            from rali.scoring.model_folder import onnx_file

            path = onnx_file(output / "model")
            agreement = export_checked(student, path, progress=progress)
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
