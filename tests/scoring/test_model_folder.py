"""What a model's name means: the built-in, a folder, an ONNX file, a Hub id, or nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import errors

import rali
from rali.errors import InputError
from rali.scoring.model_folder import (
    CARD_FILE,
    CONFIG_FILE,
    FORMATS,
    INTERVAL_FILE,
    PHRASES_FILE,
    PRECISIONS,
    WEIGHTS_FILE,
    WEIGHTS_SHA256,
    exports_in,
    find_file,
    find_model,
    find_weights,
    image_file,
    is_model,
    is_unexported,
    onnx_file,
    remove_exports,
)

BUILTIN = Path(rali.__file__).parent / "builtin"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder of empty files."""
    folder = tmp_path / "model"
    (folder / "onnx").mkdir(parents=True)
    for name in (CONFIG_FILE, WEIGHTS_FILE, PHRASES_FILE):
        (folder / name).touch()
    for precision in PRECISIONS:
        onnx_file(folder, precision).touch()
    return folder


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str | None]]:
    """What the Hub is asked for; it has everything but intervals. The working folder is empty."""
    asked = []

    def download(repository: str, name: str, revision: str | None) -> str:
        asked.append((repository, name, revision))
        if name == INTERVAL_FILE:
            raise errors.EntryNotFoundError("404")
        return str(tmp_path / "cache" / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.chdir(tmp_path)
    return asked


def test_the_built_in_has_the_files_of_a_model_folder() -> None:
    assert find_model("builtin") == BUILTIN / "onnx" / "model.onnx"
    assert find_weights("builtin") == BUILTIN
    for name in (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE, INTERVAL_FILE, PHRASES_FILE):
        assert find_file("builtin", name) == BUILTIN / name
    assert not is_unexported("builtin") and is_model("builtin")


def test_builtin_is_the_built_in_whatever_lies_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "builtin").mkdir()
    assert find_model("builtin") == BUILTIN / "onnx" / "model.onnx"
    assert find_weights("builtin") == BUILTIN


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder(folder: Path, kind: type) -> None:
    model = kind(folder)
    names = ["model.onnx", "model_fp16.onnx", "model_int8.onnx", "model_int8_dynamic.onnx"]
    assert [find_model(model, p) for p in PRECISIONS] == [folder / "onnx" / n for n in names]
    assert find_weights(model) == folder
    assert find_file(model, PHRASES_FILE) == folder / PHRASES_FILE
    assert find_file(model, INTERVAL_FILE) is None
    assert is_model(str(folder))


def test_an_onnx_file_in_a_model_folder(folder: Path) -> None:
    file = onnx_file(folder, "int8")
    assert find_model(file) == find_model(file, "fp16") == file
    assert find_file(file, PHRASES_FILE) == folder / PHRASES_FILE
    nearer = file.parent / PHRASES_FILE
    nearer.touch()
    assert find_file(file, PHRASES_FILE) == nearer, "`rali export` put it there, for this file"
    assert find_file(folder, PHRASES_FILE) == folder / PHRASES_FILE


def test_an_onnx_file_elsewhere(tmp_path: Path) -> None:
    (tmp_path / PHRASES_FILE).touch()  # of another model: only `onnx/` belongs to its parent
    file = tmp_path / "phone" / "small.onnx"
    file.parent.mkdir()
    file.touch()
    assert find_model(str(file)) == file
    assert find_file(file, PHRASES_FILE) is None
    (file.parent / PHRASES_FILE).touch()
    assert find_file(file, PHRASES_FILE) == file.parent / PHRASES_FILE
    with pytest.raises(InputError, match="is not a model folder"):
        find_weights(file)


def test_a_hub_id(tmp_path: Path, asked: list[tuple[str, str, str | None]]) -> None:
    assert find_model("owner/name", "int8") == tmp_path / "cache" / "onnx" / "model_int8.onnx"
    assert find_weights("owner/name", revision="v2") == tmp_path / "cache"
    assert find_file("owner/name", PHRASES_FILE) == tmp_path / "cache" / PHRASES_FILE
    assert find_file("owner/name", INTERVAL_FILE) is None
    assert asked == [
        ("owner/name", "onnx/model_int8.onnx", None),
        ("owner/name", CONFIG_FILE, "v2"),
        ("owner/name", WEIGHTS_FILE, "v2"),
        ("owner/name", PHRASES_FILE, None),
        ("owner/name", INTERVAL_FILE, None),
    ]
    assert is_model("owner/name") and not is_unexported("owner/name")


def test_the_hub_is_left_alone(tmp_path: Path, asked: list[tuple[str, str, str | None]]) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert find_file("owner/other", PHRASES_FILE, local=True) is None
    assert find_file("owner/name", PHRASES_FILE) is None, "a folder has the name"
    assert find_file(Path("owner/other"), PHRASES_FILE) is None, "a path is not a Hub id"
    for model in ("owner/name", Path("owner/other"), "owner/other.onnx"):
        with pytest.raises(InputError):
            find_model(model)
    assert asked == []


def test_the_message_names_what_is_missing(folder: Path, tmp_path: Path) -> None:
    for model in (tmp_path / "m.onnx", "some/m.onnx", "nothing", str(tmp_path / "gone")):
        with pytest.raises(InputError, match=f"There is no model {model}: expected 'builtin'"):
            find_model(model)
    onnx_file(folder, "fp16").unlink()
    command = f"rali export {folder} --precision fp16"
    with pytest.raises(InputError, match=f"has no onnx/model_fp16.onnx. Type: {command}"):
        find_model(folder, "fp16")
    with pytest.raises(InputError, match="rali export builtin --precision fp16"):
        find_model("builtin", "fp16")
    with pytest.raises(InputError, match="expected fp32, fp16, int8, int8-dynamic"):
        find_model(folder, "int9")
    (folder / CONFIG_FILE).unlink()
    for model in (folder, "nothing"):
        with pytest.raises(InputError, match=r"expected config\.json and model\.safetensors"):
            find_weights(model)


def test_weights_without_an_onnx_file_are_unexported(folder: Path, tmp_path: Path) -> None:
    assert not is_unexported(folder)
    onnx_file(folder).unlink()
    assert is_unexported(folder), "files of other precisions do not count"
    assert not is_unexported(folder / WEIGHTS_FILE)
    (folder / WEIGHTS_FILE).unlink()
    assert not is_unexported(folder) and not is_unexported(tmp_path / "gone")


def test_another_model_in_a_folder_removes_every_export_and_nothing_else(folder: Path) -> None:
    exports = [onnx_file(folder, precision) for precision in PRECISIONS]
    exports += [image_file(exports[0]), exports[0].with_suffix(".ort")]
    exports += [folder / "onnx" / name for name in ("model.onnx.data", "model_quantized.onnx")]
    exports += [folder / "onnx" / f"model.{name}" for name in (PHRASES_FILE, INTERVAL_FILE)]
    exports += [folder / form.file for form in FORMATS.values()]
    exports.append((folder / FORMATS["openvino"].file).with_suffix(".bin"))
    names = "onnx/model.md", "tflite/model.labels.json", "coreml/model/a.txt", "a.onnx"
    others = [folder / name for name in (*names, PHRASES_FILE, INTERVAL_FILE)]
    for file in (*exports, *others):
        file = file / "Manifest.json" if file.suffix == ".mlpackage" else file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    before = {"model_type": "rali", "temperature": 1.0, "evaluation": {}}
    (folder / CONFIG_FILE).write_text(json.dumps(before), "utf-8")
    remove_exports(folder, json.dumps(before | {"evaluation": {"split": "test"}}))
    assert exports_in(folder) == sorted(exports)
    remove_exports(folder, json.dumps(before | {"temperature": 2.0}))
    assert exports_in(folder) == [] and not others.pop().exists(), "an interval is of its scores"
    assert all(other.is_file() for other in others)
    remove_exports(folder, json.dumps(before | {WEIGHTS_SHA256: "of other weights"}))
    assert [other for other in others if not other.is_file()] == others[-1:]


def test_an_encoder_is_not_a_model() -> None:
    assert not is_model("ViT-B-32") and not is_model("nano")
    assert is_model("./mistyped"), "so that the error is about a folder"


def test_the_file_for_pictures_of_any_size() -> None:
    assert image_file(Path("a/model_int8.onnx")) == Path("a/model_int8_image.onnx")


def test_finding_files_imports_nothing_heavy() -> None:
    code = (
        "import sys; from rali.scoring.model_folder import find_model; find_model('builtin');"
        "print({'numpy', 'torch', 'onnxruntime', 'huggingface_hub'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
