"""Files for LiteRT, Core ML and OpenVINO: `make test-mobile` runs what needs their packages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rali.cli import app
from rali.errors import InputError
from rali.export import agreement
from rali.export.formats import NOT_RUN, export_format
from rali.pictures.read import open_picture
from rali.scoring.exported import read_exported
from rali.scoring.model_folder import FORMATS
from rali.student.student import weights_sha256
from small import tower_student


@pytest.fixture(scope="module")
def student():
    return tower_student("several branches")


def test_litert_scores_as_torch_does_and_the_file_says_so(student, pictures, tmp_path) -> None:
    pytest.importorskip("litert_torch", reason="type: make test-mobile")
    from rali.export.tflite import runner

    sizes = {}
    for precision in FORMATS["tflite"].precisions:
        file = tmp_path / f"{precision}.tflite"
        found = export_format(student, file, "tflite", pictures[:6], precision=precision)
        assert found.cosine > 0.99
        noted = read_exported(file)
        assert noted["agreement"] == found.record() and noted["precision"] == precision
        assert noted["weights_sha256"] == weights_sha256(student)
        assert noted["size"] == student.preprocess.size
        sizes[precision] = file.stat().st_size
        if precision == "fp32":
            pixels = student.preprocess.pixels(open_picture(pictures[0]))
            score, _ = runner(file, threads=2)(pixels)
            assert score[0] == pytest.approx(student.score([pictures[0]])[0], abs=1e-4)
    assert sizes["int8-dynamic"] < 0.5 * sizes["fp32"] and sizes["fp16"] < 0.7 * sizes["fp32"]


def test_a_folder_of_somebody_is_not_replaced(student, pictures, tmp_path) -> None:
    kept = tmp_path / "exports" / "thesis.txt"
    for folder, name in ((kept.parent, "tflite"), (tmp_path / "exports.mlpackage", "coreml")):
        folder.mkdir()
        with pytest.raises(InputError, match="give a name that ends in"):
            export_format(student, folder, name, pictures[:2])
        assert folder.is_dir()


def test_a_file_that_disagrees_takes_no_place(student, pictures, tmp_path, monkeypatch) -> None:
    pytest.importorskip("openvino", reason="type: make test-mobile")
    monkeypatch.setattr(agreement, "TOLERANCE", -1.0)
    with pytest.raises(InputError, match="The openvino file differs from torch by"):
        export_format(student, tmp_path / "openvino_model.xml", "openvino", pictures[:2])
    assert not list(tmp_path.iterdir())


def test_openvino_reads_its_own_file_and_its_record(student, pictures, tmp_path) -> None:
    openvino = pytest.importorskip("openvino", reason="type: make test-mobile")
    file = tmp_path / "openvino_model.xml"
    found = export_format(student, file, "openvino", pictures[:4])
    assert {path.name for path in tmp_path.iterdir()} == {file.name, "openvino_model.bin"}
    model = openvino.Core().read_model(str(file))
    assert [each.any_name for each in model.inputs] == ["pixel_values"]
    assert json.loads(model.get_rt_info(["rali", "agreement"]).astype(str)) == found.record()
    assert read_exported(file)["agreement"] == found.record()
    three = np.stack([student.preprocess(open_picture(each)) for each in pictures[:3]])
    scores = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(three)
    np.testing.assert_allclose(scores["score"], student.score(pictures[:3]), atol=1e-4)


def test_core_ml_is_converted_and_says_that_it_was_not_run(student, pictures, tmp_path) -> None:
    ct = pytest.importorskip("coremltools", reason="type: make test-mobile")
    file, size = tmp_path / "model.mlpackage", student.preprocess.size
    for precision in ("fp32", "fp16"):  # the second takes the first's place
        assert export_format(student, file, "coreml", pictures[:1], precision=precision) is None
        model = ct.models.MLModel(str(file), skip_model_load=True)
        assert json.loads(model.user_defined_metadata["agreement"]) == NOT_RUN
        assert json.loads(model.user_defined_metadata["precision"]) == precision
        said = read_exported(file / "Data" / "com.apple.CoreML" / "model.mlmodel")
        assert said["weights_sha256"] == weights_sha256(student)
        assert len({path.stat().st_mode for path in file.rglob("*.*") if path.is_file()}) == 1
        (image,) = model.get_spec().description.input
        assert (image.type.imageType.width, image.type.imageType.height) == (size, size)
        assert [each.name for each in model.get_spec().description.output] == ["score", "embedding"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "tflight"], "format is 'tflight'; expected tflite, coreml, openvino."),
        (["--format", "coreml", "-o", "a", "--precision", "int8"], "it comes in fp32, fp16"),
        (["--format", "tflite", "--image"], "writes only that file; leave out --image"),
        (["--format", "tflite"], "Give the file to write with --output FILE"),
    ],
)
def test_what_cannot_be_written_is_refused(words, message, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in str(CliRunner().invoke(app, ["export", "builtin", *words]).exception)
    assert not Path("a").exists()
