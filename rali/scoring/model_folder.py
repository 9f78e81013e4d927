"""What a model's name means, and which of its files lies where.

A model is "builtin", a model folder, an ONNX file (in a model folder's `onnx/` or anywhere else) or
a Hub id. This rule and every file name of the model folder are written here and nowhere else
(docs/formats.md draws the folder). Needs neither torch nor onnxruntime.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rali.errors import HubError, InputError
from rali.files import from_json

from .hub import download, is_hub_id

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
HEAD_FILE = "head.npz"
CARD_FILE = "README.md"
INTERVAL_FILE = "interval.json"
PHRASES_FILE = "phrases.npz"
ONNX_FOLDER = "onnx"
QUANTIZED_FILE = "model_quantized.onnx"  # transformers.js' name for 8 bits, in ONNX_FOLDER
# An ONNX file's and those of what is beside it: weights from 2 GB on, ONNX Runtime's own format.
_ONNX_ENDS = (".onnx", ".onnx.data", ".ort", f".{PHRASES_FILE}", f".{INTERVAL_FILE}")
WEIGHTS_SHA256 = "weights_sha256"  # in CONFIG_FILE and in an ONNX file's metadata
BUILTIN = "builtin"
_BUILTIN_FOLDER = Path(__file__).parents[1] / BUILTIN


@dataclass(frozen=True)
class Precision:
    """How the weights of an ONNX file are stored.

    Attributes:
        file: its name in the model folder's `onnx/`.
        calibrated: whether pictures set the ranges of its integers when it is written.
        one_by_one: whether it must be run picture by picture, as its arithmetic depends on the
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


@dataclass(frozen=True)
class Format:
    """A file for another runtime than ONNX Runtime, which `rali export --format` writes.

    Attributes:
        file: its name in the model folder.
        precisions: what it comes in, the default first.
        weights: the file with its weights, where they are not in `file`.
    """

    file: str
    precisions: tuple[str, ...]
    weights: str = ""


# Each is written by the module of rali.export that has its name.
FORMATS = {
    "tflite": Format("tflite/model.tflite", ("fp32", "fp16", "int8-dynamic")),
    "coreml": Format("coreml/model.mlpackage", ("fp32", "fp16")),
    "openvino": Format(
        "openvino/openvino_model.xml", ("fp32", "fp16"), "openvino/openvino_model.bin"
    ),
}


def find_format(name: str) -> Format:
    """The entry of `FORMATS`.

    Raises:
        InputError: there is no such format.
    """
    if name not in FORMATS:
        raise InputError(f"format is {name!r}; expected {', '.join(FORMATS)}.")
    return FORMATS[name]


def find_precision(name: str) -> Precision:
    """The entry of `PRECISIONS`.

    Raises:
        InputError: there is no such precision.
    """
    if name not in PRECISIONS:
        raise InputError(f"precision is {name!r}; expected {', '.join(PRECISIONS)}.")
    return PRECISIONS[name]


def find_model(model: str | Path, precision: str = "fp32") -> Path:
    """A model's ONNX file; of a Hub id, its local copy.

    Raises:
        InputError: there is none; the message says what to type.
    """
    name = find_precision(precision).file
    if (folder := _folder(model)) is not None:
        _refuse_head(folder)
        file = onnx_file(folder, precision)
        if not file.is_file():
            raise InputError(_not_exported(model, precision))
        return file
    if Path(model).is_file():
        return Path(model)
    if _is_remote(model) and Path(model).suffix != ".onnx":
        return download(str(model), f"{ONNX_FOLDER}/{name}")
    raise InputError(
        f"There is no model {model}: expected '{BUILTIN}', a model folder, an .onnx file or a "
        "Hugging Face Hub id such as owner/name."
    )


def find_weights(model: str | Path, *, revision: str | None = None) -> Path:
    """The folder with `CONFIG_FILE` and `WEIGHTS_FILE`; of a Hub id, its local copy.

    Args:
        model: not an ONNX file, which has no weights for torch.

    Raises:
        InputError: the folder or one of the two files does not exist.
    """
    if _is_remote(model):
        download(str(model), CONFIG_FILE, revision=revision)
        return download(str(model), WEIGHTS_FILE, revision=revision).parent
    folder = _folder(model) or Path(model)
    _refuse_head(folder)
    if not (folder / CONFIG_FILE).is_file() or not (folder / WEIGHTS_FILE).is_file():
        raise InputError(
            f"{folder} is not a model folder: expected {CONFIG_FILE} and {WEIGHTS_FILE}. "
            f"Give a folder written by `rali distill`, a Hub id, or '{BUILTIN}'."
        )
    return folder


def find_file(model: str | Path, name: str, *, local: bool = False) -> Path | None:
    """A file beside a model's weights, such as `PHRASES_FILE`; None if the model has none.

    It lies in the model folder, or beside the ONNX file where `rali export --output` put it
    (`side_file`). Of several, the one nearest to what `model` names is taken.

    Args:
        local: download nothing from the Hub.

    Raises:
        HubError: the Hub does not say whether it has the file.
    """
    if (folder := _folder(model)) is not None:
        places = [folder / name, folder / ONNX_FOLDER / name]
    elif Path(model).is_file():
        beside = Path(model).parent
        places = [side_file(model, name), beside / name]
        places += [beside.parent / name] if beside.name == ONNX_FOLDER else []
    elif _is_remote(model) and not local:
        try:
            return download(str(model), name)
        except HubError:
            raise
        except InputError:
            return None
    else:
        places = []
    return next((place for place in places if place.is_file()), None)


def side_file(model: str | Path, name: str) -> Path:
    """Where a file such as `PHRASES_FILE` is written: into a model folder, or beside an ONNX file.

    There it bears the ONNX file's name, as models may share a folder: `a.onnx`, `a.phrases.npz`.
    """
    path = Path(model)
    return path.with_name(f"{path.stem}.{name}") if path.suffix == ".onnx" else path / name


def check_owner(path: Path, owner: str, model: str | Path, weights: str) -> None:
    """Refuse a file beside a model's weights that is another model's.

    Args:
        path: the file. owner: SHA-256 of the weights that it was made for, as it says; may be "".
        model: as it was named, to whose weights, of SHA-256 `weights`, it is to belong.

    Raises:
        InputError: it is another model's, or lies beside a single ONNX file and does not say whose.
    """
    alone = Path(model).is_file() and Path(model).parent.name != ONNX_FOLDER
    if not weights or owner == weights or (not owner and not alone):
        return
    raise InputError(
        f"{path} is {'another model' if owner else 'nobody knows which model'}'s, not that of "
        f"{model}. Type: rali export MODEL_FOLDER -o FILE.onnx, which takes MODEL_FOLDER's own "
        "along, or rali calibrate MODEL_FOLDER MANIFEST for a new interval."
    )


def is_head(model: str | Path) -> bool:
    """Whether it is the folder of a head, which scores embeddings and has no encoder."""
    folder = _folder(model)
    return folder is not None and (folder / HEAD_FILE).is_file()


def _refuse_head(folder: Path) -> None:
    if is_head(folder):
        raise InputError(
            f"{folder} is a head: it scores embeddings, not pictures. Type: rali score "
            f"embeddings.parquet --model {folder} -o scores.csv; rali evaluate takes scores.csv."
        )


def is_model(name: str) -> bool:
    """Whether this names a model, existing or not, rather than something else like an encoder."""
    return _folder(name) is not None or Path(name).is_file() or "/" in name


def is_unexported(model: str | Path) -> bool:
    """Whether a model folder has weights for torch but no ONNX file in float32."""
    folder = _folder(model)
    return (
        folder is not None and (folder / WEIGHTS_FILE).is_file() and not onnx_file(folder).is_file()
    )


def onnx_file(folder: str | Path, precision: str = "fp32") -> Path:
    """Where the ONNX file of a model folder lies, or would lie."""
    return Path(folder) / ONNX_FOLDER / find_precision(precision).file


def image_file(onnx: Path) -> Path:
    """Where `rali export --image` writes the ONNX file that takes pictures of any size."""
    return onnx.with_stem(f"{onnx.stem}_image")


def exports_in(folder: str | Path) -> list[Path]:
    """The files that `rali export` wrote into a model folder, in whatever precision or format."""
    onnx = [onnx_file(folder, name) for name in PRECISIONS]
    onnx += [*map(image_file, onnx), onnx[0].with_name(QUANTIZED_FILE)]
    found = [file.with_name(file.stem + end) for file in onnx for end in _ONNX_ENDS]
    for form in FORMATS.values():
        found += [Path(folder) / name for name in (form.file, form.weights) if name]
    return sorted(path for path in found if path.is_file() or is_mlpackage(path))


def is_mlpackage(path: Path) -> bool:
    """Whether it is a folder that Core ML takes for one file."""
    return (path / "Manifest.json").is_file()


def remove_exports(folder: str | Path, config: str | bytes) -> None:
    """Remove a model folder's exports before another model takes its place.

    The phrases go with the embeddings that they are compared with, the interval with the scores.

    Args:
        config: the text of its `CONFIG_FILE` to be. Where only the evaluation in it is new, the
            model is the same one, and its exports stay.
    """
    try:
        before = _model_in((Path(folder) / CONFIG_FILE).read_bytes())
    except (OSError, ValueError):
        return
    after = _model_in(config)
    if before.get("model_type") != "rali" or before == after:
        return
    for path in exports_in(folder):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for file, names in _DEPENDS.items():
        if any(before.get(name) != after.get(name) for name in names):
            for place in (Path(folder), Path(folder) / ONNX_FOLDER):
                (place / file).unlink(missing_ok=True)


_EMBEDDINGS = (WEIGHTS_SHA256, "encoder", "preprocess")  # what of a config decides them
_DEPENDS = {PHRASES_FILE: _EMBEDDINGS, INTERVAL_FILE: (*_EMBEDDINGS, "temperature")}


def _model_in(config: str | bytes) -> dict[str, Any]:
    """What a `CONFIG_FILE` says of the model itself; empty where it holds something else."""
    values = from_json(config)
    later = ("evaluation", "rali_version")
    kept = values.items() if isinstance(values, dict) else ()
    return {name: value for name, value in kept if name not in later}


def check_weights(onnx: Path, digest: str) -> None:
    """Refuse an ONNX file in a model folder whose weights are not the folder's.

    Args:
        onnx: the file; outside of a model folder it is its own model.
        digest: the `weights_sha256` of its metadata.

    Raises:
        InputError: it was exported from other weights.
    """
    config = onnx.parent.parent / CONFIG_FILE
    if onnx.parent.name != ONNX_FOLDER or not config.is_file():
        return
    try:
        wanted = from_json(config.read_bytes()).get(WEIGHTS_SHA256)
    except (OSError, ValueError, AttributeError):  # scoring needs no config.json
        return
    if wanted and digest and wanted != digest:
        folder = onnx.parent.parent
        more = [name for name, of in PRECISIONS.items() if of.file == onnx.name and name != "fp32"]
        raise InputError(
            f"{onnx} was exported from other weights than those of {folder}. Type: rali export "
            f"{folder}{''.join(f' --precision {name}' for name in more)}"
        )


def _folder(model: str | Path) -> Path | None:
    """The local model folder that `model` names; None for an ONNX file, a Hub id or nothing."""
    if str(model) == BUILTIN:
        return _BUILTIN_FOLDER
    return Path(model) if Path(model).is_dir() else None


def _is_remote(model: str | Path) -> bool:
    """Whether `model` is a Hub id: nothing local has this name."""
    return isinstance(model, str) and is_hub_id(model) and not Path(model).exists()


def _not_exported(model: str | Path, precision: str) -> str:
    name = f"{ONNX_FOLDER}/{find_precision(precision).file}"
    more = "" if precision == "fp32" else f" --precision {precision}"
    if str(model) != BUILTIN:
        return f"{model} has no {name}. Type: rali export {model}{more}"
    if more:
        return (
            f"The built-in model does not come in {precision}. Type: rali export {BUILTIN}{more} "
            f"--output {Path(name).name}, and give that file."
        )
    return (
        f"This copy of rali lacks its built-in model (rali/{BUILTIN}/{name}). "
        "Type: pip install --force-reinstall rali, or give a model folder."
    )
