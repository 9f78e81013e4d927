"""A student in, `model.onnx` out: pixel_values float32 [batch, 3, S, S] → score, embedding.

One file with the weights inside (beside it from 2 GB on), a dynamic batch, and metadata by which a
scorer can prepare pictures without any other file (docs/formats.md).
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import warnings
from pathlib import Path

import torch

from rali.errors import require
from rali.scoring.model_folder import is_mlpackage
from rali.student.student import Student, weights_sha256
from rali.version import __version__

from .fuse import fuse

OPSET = 18
ONE_FILE_LIMIT = 2_000_000_000
ORIGIN = {  # what the metadata says of where a model comes from → its name in the training's facts
    "license": "license",
    "notice": "notice",
    "training_data": "data",
    "source_commit": "source_commit",
}


def export_onnx(student: Student, path: str | Path, *, fused: bool = True) -> Path:
    """Write the student as one ONNX file and return its path.

    Args:
        student: on the CPU, in evaluation mode.
        path: the file, which appears when it is complete.
        fused: attention as the one node that ONNX Runtime's own provider is fastest with. Other
            providers, such as OpenVINO's, need ONNX's own operators.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
    """
    onnx = require("onnx", "distill")
    require("onnxscript", "distill")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    props = metadata(student)
    student = fuse(student.cpu().eval(), attention=fused)
    size = student.preprocess.size
    # The exporter would take a batch of one for a constant.
    example = torch.zeros(2, 3, size, size)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("onnxscript").setLevel(logging.ERROR)
        program = torch.onnx.export(
            student,
            (example,),
            dynamo=True,
            dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch")}},
            input_names=["pixel_values"],
            output_names=["score", "embedding"],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(props)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        file = Path(folder) / path.name
        program.save(str(file), external_data=False)
        _strip(file)
        beside = [other for other in Path(folder).iterdir() if other != file]
        if beside and sum(p.stat().st_size for p in [file, *beside]) < ONE_FILE_LIMIT:
            onnx.save(onnx.load(str(file)), str(file))  # torch splits smaller models too
            for other in beside:
                other.unlink()
        move_into(file, path.parent)
    return path


def _strip(file: Path) -> None:
    """Remove the exporter's notes on each node: stack traces of this machine, 150 kB for nano."""
    import onnx

    model = onnx.load(str(file), load_external_data=False)
    for part in (*model.graph.node, *model.graph.value_info):
        del part.metadata_props[:]
    onnx.save(model, str(file))


def move_into(file: Path, folder: Path) -> None:
    """Move an exported file to `folder`, with the weights beside it where it has some."""
    for each in sorted(file.parent.iterdir(), key=lambda other: other == file):  # itself last
        if is_mlpackage(target := folder / each.name):
            shutil.rmtree(target)
        each.replace(target)


def metadata(student: Student) -> dict[str, str]:
    """The file's metadata; every value is JSON."""
    values = {
        "model_type": "rali",
        "rali_version": __version__,
        **student.preprocess.to_dict(),
        "score_range": list(student.config.score_range),
        "weights_sha256": weights_sha256(student),
        **{
            key: student.config.training[given]
            for key, given in ORIGIN.items()
            if given in student.config.training
        },
    }
    return {key: json.dumps(value) for key, value in values.items()}
