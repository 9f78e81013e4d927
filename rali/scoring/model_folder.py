"""Which file of a model lies where: "builtin", a model folder, one of its files, or a Hub id.

Every file name of the model folder is spelt here and nowhere else (docs/formats.md draws the
folder). Needs no torch and no onnxruntime.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from rali.errors import InputError

from .hub import download, is_hub_id

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
INTERVAL_FILE = "interval.json"
PHRASES_FILE = "phrases.npz"
ONNX_FOLDER = "onnx"
IMAGE_FILE = "model_image.onnx"
BUILTIN = "builtin"


@dataclass(frozen=True)
class Precision:
    """How the weights of an ONNX file are stored.

    Attributes:
        file: its name in the model folder's `onnx/`.
        calibrated: whether pictures set the ranges of its integers when it is written.
        one_by_one: whether it has to be run picture by picture, as its arithmetic depends on the
            batch.
    """

    file: str
    calibrated: bool = False
    one_by_one: bool = False


PRECISIONS = {
    "fp32": Precision("model.onnx"),
    "fp16": Precision("model_fp16.onnx"),
    "int8": Precision("model_int8.onnx", calibrated=True),
    "int8-dynamic": Precision("model_int8_dynamic.onnx", one_by_one=True),
}


def find_precision(name: str) -> Precision:
    """The entry of `PRECISIONS`.

    Raises:
        InputError: there is no such precision.
    """
    if name not in PRECISIONS:
        raise InputError(f"precision is {name!r}; expected {', '.join(PRECISIONS)}.")
    return PRECISIONS[name]


def model_folder(model: str | Path) -> Path | None:
    """The local folder that a model's files lie in; None for a Hub id, or where nothing is there.

    Args:
        model: "builtin", a model folder, or an ONNX file in one (in its `onnx/` or directly).
    """
    if str(model) == BUILTIN:
        return Path(str(files("rali") / BUILTIN))
    path = Path(model)
    if path.is_dir():
        return path
    if path.is_file():
        return path.parent.parent if path.parent.name == ONNX_FOLDER else path.parent
    return None


def find_file(model: str | Path, name: str, *, local: bool = False) -> Path | None:
    """The file `name` of a model, or None where the model does not have it.

    Args:
        model: "builtin", a model folder, an ONNX file in or beside one, or a Hub id.
        name: a file of the model folder, such as `PHRASES_FILE`; in its `onnx/` it is found too.
        local: do not ask the Hub, from which the file would be downloaded.
    """
    folder = model_folder(model)
    if folder is None:
        if local or not _may_be_hub_id(model):
            return None
        try:
            return download(str(model), name)
        except InputError:
            return None
    inside = Path(model).parent if Path(model).is_file() else folder / ONNX_FOLDER
    places = [folder / name, inside / name]
    return next((place for place in places if place.is_file()), None)


def find_model(model: str | Path, precision: str = "fp32") -> Path:
    """The ONNX file of "builtin", a model folder, an `.onnx` file or a Hub id.

    Raises:
        InputError: there is none; the message says what to type.
    """
    name = find_precision(precision).file
    more = "" if precision == "fp32" else f" --precision {precision}"
    path = Path(model)
    if str(model) != BUILTIN and path.is_file():
        return path
    folder = model_folder(model)
    if folder is None:
        if path.suffix != ".onnx" and _may_be_hub_id(model):
            return download(str(model), f"{ONNX_FOLDER}/{name}")
        raise InputError(
            f"There is no model {model}: expected 'builtin', a model folder, an .onnx file or a "
            "Hugging Face Hub id such as owner/name."
        )
    file = onnx_file(folder, precision)
    if file.is_file():
        return file
    if str(model) != BUILTIN:
        raise InputError(f"{path} has no {ONNX_FOLDER}/{name}. Type: rali export {path}{more}")
    if more:
        raise InputError(
            f"The built-in model does not come in {precision}. Type: rali export builtin"
            f"{more} --output {name}, and give that file."
        )
    raise InputError(
        f"This copy of rali lacks its built-in model (rali/builtin/{ONNX_FOLDER}/{name}). "
        "Type: pip install --force-reinstall rali, or give a model folder."
    )


def find_weights(model: str | Path, *, revision: str | None = None) -> Path:
    """The folder with `config.json` and `model.safetensors` of "builtin", a folder or a Hub id.

    Raises:
        InputError: neither is there, or the Hub does not have them.
    """
    folder = model_folder(model)
    if folder is None and _may_be_hub_id(model):
        download(str(model), CONFIG_FILE, revision=revision)
        return download(str(model), WEIGHTS_FILE, revision=revision).parent
    folder = Path(model) if str(model) != BUILTIN or folder is None else folder
    if not (folder / CONFIG_FILE).is_file() or not (folder / WEIGHTS_FILE).is_file():
        raise InputError(
            f"{folder} is not a model folder: expected {CONFIG_FILE} and {WEIGHTS_FILE}. "
            "Give a folder written by `rali distill`, a Hub id, or 'builtin'."
        )
    return folder


def onnx_file(folder: str | Path, precision: str = "fp32") -> Path:
    """Where the ONNX file of a model folder lies, or would lie."""
    return Path(folder) / ONNX_FOLDER / find_precision(precision).file


def is_exported(folder: str | Path) -> bool:
    """Whether a model folder holds an ONNX file in float32, and not only weights for torch."""
    return onnx_file(folder).is_file()


def has_weights(folder: str | Path) -> bool:
    """Whether a folder holds a student's weights for torch."""
    return (Path(folder) / WEIGHTS_FILE).is_file()


def _may_be_hub_id(model: str | Path) -> bool:
    return isinstance(model, str) and not Path(model).exists() and is_hub_id(model)
