from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from rali.errors import InputError
from rali.export.ort import export_ort
from rali.scoring.exported import read_exported
from rali.scoring.head import Head, write_head
from rali.scoring.licenses import UNKNOWN, model_parts, package_parts
from tiny_onnx import write_model

PACKAGES = ("rali", "rali.teacher", "rali.export", "rali.recipes")


def is_binary(path: Path) -> bool:
    try:
        path.read_text("utf-8")
    except UnicodeDecodeError:
        return True
    return False


def test_every_binary_file_that_ships_has_a_licence_and_an_origin():
    listed = {part.file: part for part in package_parts()}
    shipped = {
        f"{package.replace('.', '/')}/{path.relative_to(root).as_posix()}"
        for package in PACKAGES
        for root in [Path(str(files(package)))]
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and is_binary(path)
    }
    assert len(shipped) >= 6
    assert shipped <= listed.keys()
    assert all(part.license == "Apache-2.0" and part.origin for part in listed.values())


def test_the_hash_is_that_of_the_file():
    part = next(part for part in package_parts() if part.file == "rali/builtin/model.safetensors")
    path = Path(str(files("rali"))) / "builtin/model.safetensors"
    assert part.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_exported_file_says_what_it_is_made_of(tmp_path):
    source = Path(str(files("rali"))) / "builtin/onnx/model.onnx"
    (tmp_path / "mine.onnx").write_bytes(source.read_bytes())
    shown = subprocess.run(
        [sys.executable, "-m", "rali", "licenses", str(tmp_path), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (part,) = json.loads(shown.stdout)
    assert part["license"] == "Apache-2.0"
    assert "EfficientNet-Lite0" in part["origin"] and "BIQ2021" in part["origin"]


SAID = {
    "model_type": "rali", "license": "MIT", "notice": "Made of é.", "training_data": "x" * 300,
}  # fmt: skip
AS_TEXT = {key: json.dumps(value) for key, value in SAID.items()}


def message(*fields: tuple[int, bytes]) -> bytes:
    """A protocol buffer of fields with a length."""

    def varint(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + varint(value // 128)

    return b"".join(varint(number << 3 | 2) + varint(len(text)) + text for number, text in fields)


def coreml() -> bytes:
    entries = [(100, message((1, k.encode()), (2, v.encode()))) for k, v in AS_TEXT.items()]
    numbers = b"\x08\x07" + b"\x19" + bytes(8) + b"\x25" + bytes(4)  # a varint, 64 and 32 bits
    metadata = message((1, b"short"), *entries)
    return numbers + message((2, message((1, b"input"), (100, metadata))), (502, b"\x00"))


def tflite() -> bytes:
    flatbuffers = pytest.importorskip("flatbuffers")
    builder = flatbuffers.Builder()

    def table(fields: dict[int, tuple[str, int]], size: int) -> int:
        builder.StartObject(size)
        for number, (kind, value) in fields.items():
            getattr(builder, f"Prepend{kind}Slot")(number, value, 0)
        return int(builder.EndObject())

    def vector(tables: list[int]) -> int:
        builder.StartVector(4, len(tables), 4)
        for each in reversed(tables):
            builder.PrependUOffsetTRelative(each)
        return int(builder.EndVector())

    held = builder.CreateByteVector(json.dumps(AS_TEXT).encode())
    buffers = vector([table({}, 3), table({0: ("UOffsetTRelative", held)}, 3)])
    names = [builder.CreateString(name) for name in ("min_runtime_version", "rali")]
    entries = [{0: ("UOffsetTRelative", name), 1: ("Uint32", n)} for n, name in enumerate(names)]
    metadata = vector([table(entry, 2) for entry in entries])
    root = {4: ("UOffsetTRelative", buffers), 6: ("UOffsetTRelative", metadata)}
    builder.Finish(table(root, 8), b"TFL3")
    return bytes(builder.Output())


def openvino() -> bytes:
    from xml.sax.saxutils import quoteattr

    said = "".join(f"<{key} value={quoteattr(value)} />" for key, value in AS_TEXT.items())
    return f"<net><rt_info><rali>{said}</rali></rt_info></net>".encode()


@pytest.mark.parametrize(
    ("name", "make", "weights"),
    [
        ("tflite/model.tflite", tflite, None),
        (
            "coreml/model.mlpackage/Data/com.apple.CoreML/model.mlmodel",
            coreml,
            "weights/weight.bin",
        ),
        ("openvino/openvino_model.xml", openvino, "openvino_model.bin"),
    ],
)
def test_an_export_for_another_runtime_says_what_it_is_made_of(tmp_path, name, make, weights):
    file = tmp_path / name
    held = file.parent / (weights or file.name)
    held.parent.mkdir(parents=True)
    held.write_bytes(b"weights")
    file.write_bytes(make())
    assert read_exported(file) == SAID
    (part,) = model_parts(tmp_path)
    assert part == model_parts(file)[0]
    assert (part.file, part.license) == (str(held), "MIT")
    assert part.origin == f"Made of é. Trained on {'x' * 300}."
    for length in range(0, len(make()), 7):  # cut anywhere, it is no traceback
        file.write_bytes(make()[:length])
        assert model_parts(tmp_path)[0].license in (UNKNOWN, "MIT")


def test_onnx_runtimes_own_format_and_a_head_say_what_they_are_made_of(tmp_path):
    assert (
        model_parts(export_ort(write_model(tmp_path / "m.onnx", license="MIT")))[0].license == "MIT"
    )
    one = np.ones((1, 2), np.float32)
    write_head(Head(one[0], one[0], one, one[:, :1], one[0, :1]), tmp_path, temperature=1.0,
               training={"license": "MIT", "data": "mine"})  # fmt: skip
    head = model_parts(tmp_path)[-1]
    assert (head.what, head.license) == ("a head, which scores embeddings", "MIT")
    assert head.origin == "Trained on mine."


def test_one_damaged_file_hides_no_other_and_capitals_no_suffix(tmp_path):
    file = tmp_path / "a.TFLITE"
    file.write_bytes(tflite())
    (tmp_path / "b.ort").write_bytes(b"damaged")
    found = {Path(part.file).name: (part.what, part.license) for part in model_parts(tmp_path)}
    assert found["a.TFLITE"] == ("a model, for LiteRT", "MIT")
    assert found["b.ort"] == ("a file that cannot be read", UNKNOWN)
    assert model_parts(file)[0].license == "MIT"


@pytest.mark.parametrize("name", ["nope.mlpackage", "owner/nope.tflite", "nope.ort"])
def test_an_export_that_is_not_there_is_named(name):
    with pytest.raises(InputError, match=rf"There is no {name}: expected a file or folder of"):
        model_parts(name)


def test_a_folder_without_weights_is_refused_and_silence_is_not_a_licence(tmp_path):
    with pytest.raises(InputError, match="holds no"):
        model_parts(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert model_parts(tmp_path)[0].license == UNKNOWN
