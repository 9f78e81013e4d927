"""`rali export`: the ONNX file of a model folder, checked."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from rali.errors import InputError
from rali.scoring.model_folder import (
    INTERVAL_FILE,
    PHRASES_FILE,
    PRECISIONS,
    find_file,
    image_file,
    onnx_file,
)

from ._model import STUDENT_HELP
from ._teacher import find_rows


class Format(StrEnum):
    """The format of the exported file."""

    onnx = "onnx"
    ort = "ort"


def export(
    model: Annotated[str, typer.Argument(help=STUDENT_HELP)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="ONNX file to write.",
            show_default="MODEL/onnx/model.onnx, model_int8.onnx, …",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(PRECISIONS)}. int8 is calibrated on pictures; int8-dynamic scores "
            "one picture at a time.",
            show_default="fp32, or what --for wants",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="NAME",
            help="Write what an execution provider wants (attention, batch, zero points, bits): "
            "openvino, tensorrt, coreml, qnn or nnapi.",
            show_default="ONNX Runtime's own",
        ),
    ] = None,
    pictures: Annotated[
        list[Path] | None,
        typer.Option(
            help="Picture, folder or manifest for the comparison with torch and for the "
            "calibration. Repeat for more.",
            show_default="samples from scikit-learn and scikit-image",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Keep no file that is below the gate.")
    ] = False,
    fused: Annotated[
        bool,
        typer.Option(
            "--fused/--plain",
            help="Write attention as one node of ONNX Runtime, or in plain ONNX operators, which "
            "OpenVINO needs.",
        ),
    ] = True,
    format: Annotated[
        Format,
        typer.Option("--format", help="ort also writes a file for ONNX Runtime's mobile builds."),
    ] = Format.onnx,
    image: Annotated[
        bool,
        typer.Option(
            "--image",
            help="Also write model_image.onnx, which resizes pictures itself.",
        ),
    ] = False,
    web: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Write only a page that scores pictures in the browser, into this folder, with "
            "MODEL's ONNX file.",
        ),
    ] = None,
    onnxruntime_web: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="The npm package of that name for --web, as .tgz or unpacked.",
            show_default="npm fetches it",
        ),
    ] = None,
) -> None:
    """Write a model as one ONNX file and compare its scores with torch's.

    The gate for fewer bits than fp32 is SRCC 0.995 with torch, and scores within
    0.1. To reach it, layers that 8 bits hurt stay in float.

    Example: rali export runs/mine/model --precision int8 --pictures photos/
    """
    if web is not None:
        given: dict[str, Any] = {
            "--output": output,
            "--pictures": pictures,
            "--strict": strict,
            "--image": image,
        }
        given |= {"--plain": not fused, "--format ort": format is Format.ort, "--for": target}
        if without := [name for name, value in given.items() if value]:
            raise InputError(f"--web writes only a page; leave out {', '.join(without)}.")
        from rali.export.web import export_web

        page = export_web(model, web, onnxruntime_web, precision=precision or "fp32")
        typer.echo(f"{page}: to see it, type: python -m http.server --directory {web}")
        return

    if onnxruntime_web is not None:
        raise InputError("--onnxruntime-web is for --web DIR; give both.")
    if output is not None and output.suffix == ".ort":
        raise InputError(f"--output is the ONNX file; with --format ort, {output} comes beside it.")
    from rali.export import export_checked, export_image, export_ort
    from rali.export.checked import Gate
    from rali.export.profiles import Profile, find_profile
    from rali.runs.progress import StageProgress
    from rali.student.student import Student, weights_sha256

    profile = Profile(fused=fused)
    if target is not None:
        profile, precision = find_profile(target, precision)
    precision = precision or "fp32"
    if output is None:
        if not Path(model).is_dir():
            raise InputError(
                f"{model} is not a folder here. Give the file to write with --output FILE."
            )
        output = onnx_file(model, precision)
    student = Student.from_pretrained(model)
    compared = [row.image for row in find_rows(pictures)] if pictures else None
    with StageProgress(resumes=False) as progress:
        agreement = export_checked(
            student,
            output,
            compared,
            precision=precision,
            strict=strict,
            fused=profile.fused and fused,
            batch=profile.batch,
            symmetric=profile.symmetric,
            progress=progress,
        )
    _take_along(model, output, weights_sha256(student))
    typer.echo(f"{output}: {output.stat().st_size / 1e6:.1f} MB, {agreement.words()}")
    if agreement.float_layers:
        typer.echo(f"Left in float: {', '.join(agreement.float_layers)}.")
    if precision != "fp32" and not agreement.passes(Gate()):
        typer.echo(f"rali: {output} is {Gate().words()}; see --strict.", err=True)
    if image:
        beside = image_file(output)
        difference = export_image(output, beside, compared)
        typer.echo(
            f"{beside}: {beside.stat().st_size / 1e6:.1f} MB, Pillow's pixels, largest difference "
            f"from {output.name} {difference:.1e}"
        )
    if format is Format.ort:
        for file in [output, *([beside] if image else [])]:
            typer.echo(f"{export_ort(file)}")


def _take_along(model: str, output: Path, weights: str) -> None:
    """Write phrases and interval beside a file outside the model's folder, with their owner."""
    from rali.scoring.intervals import read_interval, write_interval
    from rali.scoring.phrases import read_phrases, write_phrases

    for name, read, write in (
        (PHRASES_FILE, read_phrases, write_phrases),
        (INTERVAL_FILE, read_interval, write_interval),
    ):
        own, there = find_file(model, name), find_file(output, name)
        if own and (there is None or own.resolve() != there.resolve()):
            held: Any = replace(read(model, weights), weights_sha256=weights)
            typer.echo(write(held, output))
