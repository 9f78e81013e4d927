"""A student in, a file for another runtime than ONNX Runtime out: LiteRT, Core ML, OpenVINO.

A format is a module of this room, named as in `rali.scoring.model_folder.FORMATS`, with one
function `write(student, file, precision) -> Written`. What all have in common is here: the
comparison with torch, the record of it in the file, and that the file appears when it is complete.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rali.errors import InputError
from rali.pictures.read import open_picture
from rali.runs.progress import Progress, silent
from rali.scoring.model_folder import find_format, is_mlpackage
from rali.student.student import Student

from .agreement import Agreement, Gate, agree, by_torch
from .checked import default_pictures
from .fuse import fuse
from .onnx import metadata, move_into

NOT_RUN = "converted, not run"


@dataclass(frozen=True)
class Written:
    """A converted file.

    Attributes:
        run: pixels uint8 [S, S, 3], as `Preprocess.pixels` returns them → score [1] and embedding
            [1, D]; None where the format cannot be run on this machine.
        note: writes metadata, JSON by key, into the file.
    """

    run: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] | None
    note: Callable[[dict[str, str]], None]


class FromPixels(nn.Module):
    """The student behind its normalisation: `image` [1, 3, S, S], 0–255, → score, embedding.

    Args:
        last: channels come last and in bytes, uint8 [1, S, S, 3].
    """

    def __init__(self, student: Student, *, last: bool = False) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.student, self.last = fuse(student.cpu().eval(), attention=False), last
        for name in ("mean", "std"):
            values = torch.tensor(getattr(student.preprocess, name))
            self.register_buffer(name, values[:, None, None])

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        if self.last:
            image = image.permute(0, 3, 1, 2).to(torch.float32)
        score, embedding = self.student((image / 255 - self.mean) / self.std)
        return {"score": score, "embedding": embedding}


def export_format(
    student: Student,
    path: str | Path,
    name: str,
    pictures: Sequence[Any] | None = None,
    *,
    precision: str | None = None,
    strict: bool = False,
    progress: Progress = silent,
) -> Agreement | None:
    """Convert the student and compare; the file takes its place only if the scores agree.

    Args:
        path: the file.
        name: one of `FORMATS`.
        pictures: what is compared on; by default `default_pictures`.
        precision: one of the format's; by default its first.
        strict: keep no file in fewer bits that is below the gate.

    Returns:
        How the file agrees with torch; None where it cannot be run here.

    Raises:
        InputError: there is no such format or precision; `path` has another suffix or is a folder;
            the file does not agree with torch.
        MissingExtraError: the converter is not installed.
    """
    path, form = Path(path), find_format(name)
    precision = precision or form.precisions[0]
    if precision not in form.precisions:
        raise InputError(
            f"{name} does not come in {precision}; it comes in {', '.join(form.precisions)}."
        )
    suffix = Path(form.file).suffix
    if path.suffix != suffix or (path.is_dir() and not is_mlpackage(path)):
        raise InputError(
            f"{path} cannot be the {name} file: give a name that ends in {suffix} and is not "
            "that of a folder of yours."
        )
    pictures = default_pictures(precision) if pictures is None else pictures
    expected = by_torch(student, pictures)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        progress("export", 0, 1)
        with quiet():
            writer = importlib.import_module(f"rali.export.{name}")
            written: Written = writer.write(student, Path(folder) / path.name, precision)
        progress("export", 1, 1)
        agreement = None
        if run := written.run:
            pixels = (student.preprocess.pixels(open_picture(each)) for each in pictures)
            agreement = agree(expected, map(run, pixels))
            agreement.require(f"The {name} file", precision, Gate(), strict=strict)
        found = agreement.record() if agreement else NOT_RUN
        noted = {"format": name, "precision": precision, "agreement": found}
        written.note(metadata(student) | {key: json.dumps(value) for key, value in noted.items()})
        move_into(Path(folder) / path.name, path.parent)
    return agreement


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what converters tell of their passes off the terminal; their errors are raised."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    with warnings.catch_warnings(), contextlib.ExitStack() as stack:
        warnings.simplefilter("ignore")
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        try:
            yield
        finally:
            logging.disable(before)
