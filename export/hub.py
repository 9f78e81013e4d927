"""A model in, a folder in the Hub's layout out: what transformers.js and optimum find by name.

`onnx/` holds one file per precision, named after the `dtype` by which transformers.js asks for it;
its `q8`, the browser's default, is `model_quantized.onnx`, which is the same file as
`model_int8.onnx`. The folder is a model folder as before. No tool of the two knows rali's way of
filling a square, so there is no preprocessor_config.json that would promise it: give pixel_values.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rali.files import replace_atomically
from rali.runs.progress import Progress, silent
from rali.scoring.model_folder import (
    CARD_FILE,
    CONFIG_FILE,
    INTERVAL_FILE,
    PHRASES_FILE,
    QUANTIZED_FILE,
    WEIGHTS_FILE,
    find_weights,
    onnx_file,
    remove_exports,
)
from rali.student.card import has_own_readme
from rali.student.student import Student

from .agreement import Agreement
from .checked import export_checked, take_along

PRECISIONS = ("fp32", "fp16", "int8")


def export_hub(
    model: str | Path,
    folder: str | Path,
    pictures: Sequence[Any] | None = None,
    *,
    strict: bool = False,
    progress: Progress = silent,
) -> dict[Path, Agreement | None]:
    """Write the folder; what lies in it under other names stays, but for what is another model's.

    A README in it that is not a card of rali's stays too.

    Args:
        model: "builtin", a model folder or a Hub id. May be `folder`.
        pictures, strict: as `export_checked` takes them, for each precision.

    Returns:
        How each ONNX file agrees with torch; None for a further name of the file before it.

    Raises:
        InputError: there are no such weights, or a file does not agree.
    """
    folder, source = Path(folder), find_weights(model)
    student = Student.from_pretrained(model)
    names = [WEIGHTS_FILE, CONFIG_FILE, INTERVAL_FILE, PHRASES_FILE, CARD_FILE]
    found = {
        name: source / name if (source / name).is_file() else take_along(model, name)
        for name in (names[:-1] if has_own_readme(folder) else names)
    }
    folder.mkdir(parents=True, exist_ok=True)
    remove_exports(folder, (source / CONFIG_FILE).read_bytes())
    for name, own in found.items():
        if own is not None and own.resolve() != (folder / name).resolve():
            replace_atomically(folder / name, partial(shutil.copyfile, own))
    written: dict[Path, Agreement | None] = {}
    for precision in PRECISIONS:
        file = onnx_file(folder, precision)
        written[file] = export_checked(
            student, file, pictures, precision=precision, strict=strict, progress=progress
        )
    same_file(onnx_file(folder, "int8"), onnx_file(folder).with_name(QUANTIZED_FILE))
    written[onnx_file(folder).with_name(QUANTIZED_FILE)] = None
    return written


def same_file(file: Path, name: Path) -> None:
    """Give a file a further name: a hard link, or a copy where the disk has none."""
    if name.exists() and name.samefile(file):
        return
    name.unlink(missing_ok=True)
    try:
        os.link(file.resolve(), name)
    except OSError:
        shutil.copyfile(file, name)
