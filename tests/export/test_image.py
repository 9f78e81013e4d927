"""`model_image.onnx`: pixels are Pillow's, bit for bit, and scores those of `model.onnx`."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from rali import Scorer, Student
from rali.cli import main
from rali.errors import InputError
from rali.export import export_image
from rali.export.image import with_image
from rali.export.resize import pixels_model
from rali.pictures.preprocess import Preprocess


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString())


def shapes(size: int) -> list[tuple[int, int]]:
    """Height and width: each case of Pillow's resize, then whatever comes."""
    s = size
    fixed = [
        *((s, s), (s, 2 * s), (2 * s, s), (s, 8 * s), (8 * s, s)),  # nothing but a crop, or half
        *((1, 1), (1, s), (s, 1), (2, 3)),
        *((s - 1, s + 1), (s // 2, s), (2 * s, 3 * s), (3 * s, 2 * s)),
        *((1, 8), (8, 1), (3, 1000), (1000, 3), (90, 800), (800, 90), (7 * s, s)),  # long
    ]
    drawn = np.exp(np.random.default_rng(size).uniform(0, 6.2, (20, 2))).astype(int)
    return [(max(height, 1), max(width, 1)) for height, width in [*fixed, *drawn.tolist()]]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode", ["shortest", "squash", "mirror"])
@pytest.mark.parametrize("size", [1, 37, 96])  # 37 is a prime: blocks of one position
def test_pixels_are_pillows(size: int, mode: str, interpolation: str) -> None:
    preprocess = Preprocess(size=size, resize_mode=mode, interpolation=interpolation)  # type: ignore[arg-type]
    graph = session(pixels_model(preprocess))
    rng = np.random.default_rng(0)
    for height, width in shapes(size):
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        for rgb in (noise, (noise > 127) * np.uint8(255)):  # the second overshoots, and is clipped
            (pixels,) = graph.run(None, {"image": rgb})
            np.testing.assert_array_equal(
                pixels, preprocess.pixels(rgb), f"{width}×{height} to {size}"
            )


@pytest.mark.parametrize("mode", ["shortest", "squash", "mirror"])
def test_the_graph_has_no_branches(mode: str) -> None:
    """OpenVINO returns the previous picture's branch (tests/export/test_openvino.py runs it)."""
    graph = pixels_model(Preprocess(size=64, resize_mode=mode)).graph  # type: ignore[arg-type]
    assert not {"If", "Loop", "Scan"} & {node.op_type for node in graph.node}


def test_pixels_of_photographs_are_pillows(photographs) -> None:
    preprocess = Preprocess()
    graph = session(pixels_model(preprocess))
    for rgb in photographs.values():
        (pixels,) = graph.run(None, {"image": rgb})
        np.testing.assert_array_equal(pixels, preprocess.pixels(rgb))


def test_builtin_scores_the_same_along_both_paths(photographs, tmp_path) -> None:
    file = tmp_path / "model_image.onnx"
    pictures = list(photographs.values())
    assert export_image("builtin", file, pictures) <= 1e-4
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    joined, scorer = onnxruntime.InferenceSession(file), Scorer()
    assert [(i.name, i.type) for i in joined.get_inputs()] == [("image", "tensor(uint8)")]
    for rgb in [*pictures, pictures[0][:20]]:
        score, embedding = joined.run(["score", "embedding"], {"image": rgb})
        assert score.shape == (1,) and score[0] == pytest.approx(scorer(rgb), abs=1e-4)
        np.testing.assert_allclose(embedding, scorer.embed(rgb), rtol=1e-3, atol=1e-4)
    metadata = joined.get_modelmeta().custom_metadata_map
    metadata = {key: json.loads(text) for key, text in metadata.items()}
    assert metadata == scorer.metadata | {"input": "image"}


def test_weights_beside_the_model_stay_beside_it(photographs, tmp_path) -> None:
    model = onnx.load(str(Scorer().path))
    whole = tmp_path / "model.onnx"
    onnx.save(model, str(whole), save_as_external_data=True, location="weights")
    export_image(whole, tmp_path / "elsewhere" / "m.onnx", [photographs["coffee"]])
    assert {path.name for path in (tmp_path / "elsewhere").iterdir()} == {"m.onnx", "m.onnx.data"}
    joined = onnxruntime.InferenceSession(tmp_path / "elsewhere" / "m.onnx")
    (score,) = joined.run(["score"], {"image": photographs["china"]})
    assert score[0] == pytest.approx(Scorer()(photographs["china"]), abs=1e-4)


def test_a_file_that_disagrees_is_not_kept(photographs, tmp_path, monkeypatch) -> None:
    target = tmp_path / "model_image.onnx"
    target.write_bytes(b"the last good one")
    monkeypatch.setattr("rali.export.resize.PRECISION_BITS", 12)
    with pytest.raises(InputError, match="differently from Pillow"):
        export_image("builtin", target, [photographs["coffee"]])
    monkeypatch.undo()
    monkeypatch.setattr("rali.export.image.TOLERANCE", -1.0)
    with pytest.raises(InputError, match="was not kept"):
        export_image("builtin", target, [photographs["coffee"]])
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    assert target.read_bytes() == b"the last good one"


def test_what_cannot_be_joined_is_refused(photographs, tmp_path) -> None:
    file = tmp_path / "model_image.onnx"
    with pytest.raises(InputError, match="at least one picture"):
        export_image("builtin", file, [])
    export_image("builtin", file, [photographs["coffee"]])
    with pytest.raises(InputError, match="expected pixel_values in"):
        export_image(file, tmp_path / "again.onnx")
    model = onnx.load(str(Scorer().path))
    model.opset_import[0].version = 17
    with pytest.raises(InputError, match="opset 17"):
        with_image(model, Preprocess())


def test_command(monkeypatch, capsys, tmp_path, photograph_files) -> None:
    def ready(student: Student, path: Path, *, fused: bool) -> Path:
        """The export that the package holds: what comes after it is tested here."""
        return shutil.copyfile(Scorer().path, path)

    monkeypatch.setattr("rali.export.checked.export_onnx", ready)
    typed = ["rali", "export", "builtin", "--image", "--pictures", photograph_files[0]]
    monkeypatch.setattr(sys, "argv", [*map(str, typed), "-o", str(tmp_path / "m.onnx")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    assert "m_image.onnx: " in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {
        "m.onnx", "m_image.onnx", "m.phrases.npz", "m.interval.json",
    }  # fmt: skip
