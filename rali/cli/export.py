"""`rali export`: the ONNX file of a model folder, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rali.errors import InputError
from rali.scoring.model_folder import (
    CARD_FILE,
    FORMATS,
    INTERVAL_FILE,
    PHRASES_FILE,
    PRECISIONS,
    find_file,
    find_format,
    image_file,
    onnx_file,
)

from ._model import STUDENT_HELP
from ._teacher import find_rows

if TYPE_CHECKING:
    from rali.export.agreement import Agreement


def export(
    model: Annotated[str, typer.Argument(help=STUDENT_HELP)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write: of ONNX, or of another --format.",
            show_default="MODEL/onnx/model.onnx, model_int8.onnx, MODEL/tflite/model.tflite, …",
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
        str,
        typer.Option(
            metavar="NAME",
            help="onnx, ort, tflite, coreml or openvino. ort also writes a file for small builds "
            "of ONNX Runtime. tflite (LiteRT, on Android), coreml (iOS, macOS) and openvino write "
            "only a file of their own.",
        ),
    ] = "onnx",
    image: Annotated[
        bool,
        typer.Option(
            "--image",
            help="Also write model_image.onnx, which resizes pictures itself.",
        ),
    ] = False,
    hub: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Write only a model folder for the Hub, with the ONNX files that transformers.js "
            "and optimum look for: fp32, fp16 and int8.",
        ),
    ] = None,
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
    0.1. To reach it, layers that 8 bits hurt stay in float. Files of another --format
    pass the same comparison, but for coreml, which only macOS can run.

    Example: rali export runs/mine/model --precision int8 --pictures photos/
    """
    if format not in ("onnx", "ort"):
        find_format(format)
    of_onnx: dict[str, object] = {
        "--image": image,
        "--plain": not fused,
        "--for": target,
    }
    if web is not None:
        others: dict[str, object] = {
            "--output": output,
            "--pictures": pictures,
            "--strict": strict,
            f"--format {format}": format != "onnx",
            "--hub": hub,
        }
        _refuse("--web writes only a page", others | of_onnx)
        from rali.export.web import export_web

        page = export_web(model, web, onnxruntime_web, precision=precision or "fp32")
        typer.echo(f"{page}: to see it, type: python -m http.server --directory {web}")
        return

    if onnxruntime_web is not None:
        raise InputError("--onnxruntime-web is for --web DIR; give both.")
    if output is not None and output.suffix == ".ort":
        raise InputError(f"--output is the ONNX file; with --format ort, {output} comes beside it.")
    if hub is not None:
        others = {
            "--output": output,
            "--precision": precision,
            f"--format {format}": format != "onnx",
        }
        _refuse("--hub writes only a model folder", others | of_onnx)
        _write_hub(model, hub, _compared(pictures), strict)
        return
    if format in FORMATS:
        _refuse(f"--format {format} writes only that file", of_onnx)
        _write_format(model, output, format, precision, _compared(pictures), strict)
        return
    from rali.export import export_checked, export_image, export_ort
    from rali.export.profiles import Profile, find_profile
    from rali.runs.progress import StageProgress
    from rali.student.student import Student, weights_sha256

    if output is not None and output.is_dir():
        raise InputError(
            f"{output} is a folder; give the file to write, such as {output / 'model.onnx'}."
        )
    profile = Profile(fused=fused)
    if target is not None:
        profile, precision = find_profile(target, precision)
    precision = precision or "fp32"
    if output is None:
        output = _in_folder(model, onnx_file(model, precision))
    student = Student.from_pretrained(model)
    compared = _compared(pictures)
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
    _tell(output, [output], agreement, precision)
    if agreement.float_layers:
        typer.echo(f"Left in float: {', '.join(agreement.float_layers)}.")
    if image:
        beside = image_file(output)
        difference = export_image(output, beside, compared)
        typer.echo(
            f"{beside}: {beside.stat().st_size / 1e6:.1f} MB, Pillow's pixels, largest difference "
            f"from {output.name} {difference:.1e}"
        )
    if format == "ort":
        for file in [output, *([beside] if image else [])]:
            typer.echo(f"{export_ort(file)}")


def _refuse(what: str, given: Mapping[str, object]) -> None:
    """Refuse options that mean nothing here."""
    if without := [name for name, value in given.items() if value]:
        raise InputError(f"{what}; leave out {', '.join(without)}.")


def _compared(pictures: list[Path] | None) -> list[Any] | None:
    return [row.image for row in find_rows(pictures)] if pictures else None


def _in_folder(model: str, file: Path) -> Path:
    """The file, where the model is a folder that can hold it."""
    if not Path(model).is_dir():
        raise InputError(
            f"{model} is not a folder here. Give the file to write with --output FILE."
        )
    return file


def _write_hub(model: str, folder: Path, pictures: list[Any] | None, strict: bool) -> None:
    from rali.export.hub import export_hub
    from rali.runs.progress import StageProgress
    from rali.student.card import has_own_readme

    own = has_own_readme(folder)  # one that the model brings along is none of somebody's
    with StageProgress(resumes=False) as progress:
        written = export_hub(model, folder, pictures, strict=strict, progress=progress)
    before = ""
    for file, agreement in written.items():
        words = agreement.words() if agreement else f"the same file as {before}"
        typer.echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB, {words}")
        before = file.name
    if own:
        typer.echo(f"rali: {folder / CARD_FILE} is your own and stays; it is no card.", err=True)


def _write_format(
    model: str,
    output: Path | None,
    format: str,
    precision: str | None,
    pictures: list[Any] | None,
    strict: bool,
) -> None:
    from rali.export.formats import export_format
    from rali.runs.progress import StageProgress
    from rali.student.student import Student

    output = output or _in_folder(model, Path(model) / find_format(format).file)
    student = Student.from_pretrained(model)
    with StageProgress(resumes=False) as progress:
        agreement = export_format(
            student,
            output,
            format,
            pictures,
            precision=precision,
            strict=strict,
            progress=progress,
        )
    files = [path for path in (output, *output.rglob("*")) if path.is_file()]
    files += output.parent.glob(f"{output.stem}.bin")
    _tell(output, files, agreement, precision or "fp32")


def _tell(output: Path, files: Sequence[Path], agreement: Agreement | None, precision: str) -> None:
    """Say how large an export is, how it agrees with torch, and whether it is below the gate."""
    from rali.export.agreement import Gate
    from rali.export.formats import NOT_RUN

    size = sum(path.stat().st_size for path in files)
    typer.echo(f"{output}: {size / 1e6:.1f} MB, {agreement.words() if agreement else NOT_RUN}")
    if agreement and precision != "fp32" and not agreement.passes(Gate()):
        typer.echo(f"rali: {output} is {Gate().words()}; see --strict.", err=True)


def _take_along(model: str, output: Path, weights: str) -> None:
    """Write phrases and interval beside a file outside the model's folder, with their owner."""
    from rali.export.checked import take_along
    from rali.scoring.intervals import read_interval, write_interval
    from rali.scoring.phrases import read_phrases, write_phrases

    for name, read, write in (
        (PHRASES_FILE, read_phrases, write_phrases),
        (INTERVAL_FILE, read_interval, write_interval),
    ):
        own, there = take_along(model, name), find_file(output, name)
        if own and (there is None or own.resolve() != there.resolve()):
            held: Any = replace(read(model, weights), weights_sha256=weights)
            typer.echo(write(held, output))
