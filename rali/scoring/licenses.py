"""What is inside the package or a model, where it comes from and under which terms.

In: nothing, or a model's name. Out: one entry per file, with the file's SHA-256. The package's own
entries are `licenses.toml`; a model's are what its weights, its exports for every runtime and its
web page say of themselves.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rali.errors import InputError
from rali.files import image_sha256, read_json

from .exported import read_exported
from .model_folder import BUILTIN, CONFIG_FILE, HEAD_FILE, WEIGHTS_FILE, find_model
from .session import decode_metadata, open_session

UNKNOWN = "not stated"


@dataclass(frozen=True)
class Part:
    """One file and what is known of it.

    Attributes:
        file: where it lies, below the package or as the model was named.
        what: what the file holds.
        license: an SPDX identifier, or `UNKNOWN`.
        origin: where it comes from, in sentences; "" where nothing is known.
        sha256: of the file, in hexadecimal.
    """

    file: str
    what: str
    license: str
    origin: str
    sha256: str

    def words(self) -> str:
        """All of it in three or four lines, for people."""
        origin = f"    origin: {self.origin}\n" if self.origin else ""
        return (
            f"{self.file}: {self.what}\n    licence: {self.license}\n{origin}"
            f"    SHA-256: {self.sha256}"
        )


def package_parts() -> list[Part]:
    """Every file in the package that is not source code."""
    table = tomllib.loads(files(__package__).joinpath("licenses.toml").read_text("utf-8"))
    return [
        Part(
            f"{entry['package'].replace('.', '/')}/{path.relative_to(root).as_posix()}",
            entry["what"], entry["license"], entry["origin"], image_sha256(path),
        )
        for entry in table["part"]
        for root in [Path(str(files(entry["package"])))]
        for pattern in entry["files"]
        for path in sorted(root.glob(pattern))
    ]  # fmt: skip


def model_parts(model: str | Path) -> list[Part]:
    """Every file of a model that holds weights, by what it says of itself.

    Args:
        model: "builtin", which is the whole package; a model folder, a file of `rali export`, a
            folder of `rali export --web` or a Hub id.

    Raises:
        InputError: there is no such model, the folder holds no file with weights, or one file that
            was named cannot be read.
    """
    if str(model) == BUILTIN:
        return package_parts()
    folder = Path(model)
    if folder.is_dir():
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        found = [
            _read(path, read)
            for end, read in _READERS.items()
            for path in paths
            if path.name.lower().endswith(end)
            if end != ".xml" or path.with_suffix(".bin").is_file()
        ]
        if not found:
            raise InputError(
                f"{folder} holds no {', '.join(_READERS)} file; expected a model folder, or a file "
                "or folder that `rali export` wrote."
            )
        return found
    name = folder.name.lower()
    if not folder.is_file() and name.endswith((".mlpackage", *_READERS)):
        raise InputError(f"There is no {folder}: expected a file or folder of `rali export`.")
    read = next((_READERS[end] for end in _READERS if name.endswith(end)), _onnx_part)
    return [read(folder if folder.is_file() else find_model(model))]


def _read(path: Path, read: Callable[[Path], Part]) -> Part:
    """One part of many: damage to it does not hide the others."""
    try:
        return read(path)
    except InputError:
        return _part(path, "a file that cannot be read", {})


def _onnx_part(path: Path) -> Part:
    session = open_session(path, None, 1)
    said = decode_metadata(session.get_modelmeta().custom_metadata_map)
    if said.get("model_type") != "rali":
        return _part(path, "an ONNX file that rali did not write, or one without weights", {})
    return _part(path, "a model", said)


def _exported_part(path: Path) -> Part:
    """Of LiteRT, Core ML or OpenVINO; the part is the file that holds the weights."""
    beside = {
        ".mlmodel": path.parent / "weights" / "weight.bin", ".xml": path.with_suffix(".bin"),
    }.get(path.suffix.lower(), path)  # fmt: skip
    said = read_exported(path)
    what = "a model" if said.get("model_type") == "rali" else "a model that rali did not write"
    return _part(
        beside if beside.is_file() else path, f"{what}, {_RUNTIMES[path.suffix.lower()]}", said
    )


def _weights_part(path: Path) -> Part:
    config = path.with_name(CONFIG_FILE)
    settings = read_json(config, "Give a whole model folder.") if config.is_file() else {}
    training = settings.get("training")
    said = dict(training) if isinstance(training, dict) else {}
    said["training_data"] = said.get("data")
    head = path.name == HEAD_FILE
    return _part(path, "a head, which scores embeddings" if head else "weights for torch", said)


def _runtime_part(path: Path) -> Part:
    return _part(
        path, "a part of ONNX Runtime Web", {"license": "MIT", "notice": "Copyright Microsoft."}
    )


_RUNTIMES = {".tflite": "for LiteRT", ".mlmodel": "for Core ML", ".xml": "for OpenVINO"}
_READERS: dict[str, Callable[[Path], Part]] = {
    ".onnx": _onnx_part, ".ort": _onnx_part, **dict.fromkeys(_RUNTIMES, _exported_part),
    Path(WEIGHTS_FILE).suffix: _weights_part, HEAD_FILE: _weights_part, ".wasm.gz": _runtime_part,
}  # fmt: skip


def _part(path: Path, what: str, said: Mapping[str, Any]) -> Part:
    sentences = (
        str(said.get("notice") or ""),
        f"Trained on {data}." if (data := said.get("training_data")) else "",
        f"Made by the source of commit {commit}." if (commit := said.get("source_commit")) else "",
    )
    origin = " ".join(filter(None, sentences))
    return Part(str(path), what, str(said.get("license") or UNKNOWN), origin, image_sha256(path))
