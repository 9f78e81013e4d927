"""An ONNX file in, onnxruntime's session and the model's metadata out, checked to be rali's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from rali.errors import InputError
from rali.pictures.preprocess import Preprocess

from .model_folder import PRECISIONS

Provider = str | tuple[str, Mapping[str, Any]]
_PREPROCESS = tuple(field.name for field in fields(Preprocess))


def open_session(path: Path, providers: Sequence[Provider] | None, threads: int) -> Any:
    """An `onnxruntime.InferenceSession`; without `providers`, on the processor.

    Raises:
        InputError: onnxruntime lacks a provider, or the file cannot be loaded.
    """
    import onnxruntime

    chosen = list(providers) if providers else ["CPUExecutionProvider"]
    known = onnxruntime.get_available_providers()
    names = [each if isinstance(each, str) else each[0] for each in chosen]
    if missing := [name for name in names if name not in known]:
        raise InputError(
            f"onnxruntime here has no {', '.join(missing)}; it has {', '.join(known)}."
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Several runs at once share these threads; one that waits must not take a core from the others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A planned block for the whole run comes on top of the first run's memory: a quarter more at
    # batch 4, and no faster.
    options.enable_mem_pattern = False
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=chosen)
    except Exception as error:  # onnxruntime's own exceptions derive from Exception only
        raise InputError(f"{path} cannot be loaded as an ONNX model: {error}") from error


def read_metadata(session: Any, path: Path) -> dict[str, Any]:
    """`metadata_props`, decoded from JSON.

    Raises:
        InputError: this is not a model of rali, or its metadata, inputs or outputs are not those
            that `Scorer` needs.
    """
    metadata: dict[str, Any] = {}
    for key, text in session.get_modelmeta().custom_metadata_map.items():
        try:
            metadata[key] = json.loads(text)
        except ValueError:
            metadata[key] = text
    again = "Write one with: rali export MODEL_FOLDER"
    if metadata.get("model_type") != "rali":
        raise InputError(f"{path} is an ONNX file, but not one that rali wrote. {again}")
    if missing := [key for key in (*_PREPROCESS, "score_range") if key not in metadata]:
        raise InputError(f"The metadata of {path} lack {', '.join(missing)}. {again}")
    inputs = [i.name for i in session.get_inputs()]
    outputs = {o.name for o in session.get_outputs()}
    if inputs != ["pixel_values"] or not {"score", "embedding"} <= outputs:
        raise InputError(
            f"{path} takes {', '.join(inputs)} and gives {', '.join(sorted(outputs))}; expected "
            f"pixel_values in, score and embedding out, as in {PRECISIONS['fp32'].file}. {again}"
        )
    bounds = metadata["score_range"]
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise InputError(f"score_range of {path} must be two numbers, got {bounds!r}. {again}")
    return metadata


def read_preprocess(metadata: Mapping[str, Any]) -> Preprocess:
    """How a picture becomes this model's input.

    Raises:
        InputError: a field is of the wrong kind.
    """
    return Preprocess.from_dict({name: metadata[name] for name in _PREPROCESS})
