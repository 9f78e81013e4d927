"""A student: pixels to embeddings and scores, and its folder on disk."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from rali import Scorer, Student
from rali.errors import InputError
from rali.export import export_onnx
from rali.pictures.read import open_picture
from rali.scoring.model_folder import onnx_file
from rali.student.student import weights_sha256


def test_distill_leaves_a_model_that_loads_and_scores_alike(small_run, photographs):
    model = small_run.folder / "model"
    loaded = Student.from_pretrained(model)
    pictures = list(photographs.values())
    scores = loaded.score(pictures)
    assert scores == pytest.approx(small_run.student.score(pictures), abs=1e-5)
    assert ((scores >= 1) & (scores <= 5)).all()
    config = json.loads((model / "config.json").read_text())
    assert config["model_type"] == "rali" and config["pca_dim"] == 16
    assert "not evaluated" in (model / "README.md").read_text().lower()


def test_wrong_folders_are_sentences(tmp_path):
    with pytest.raises(InputError, match="not a model folder"):
        Student.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="expected 'rali'"):
        Student.from_pretrained(tmp_path)


def test_damaged_weights_are_a_sentence(small_run, tmp_path):
    (tmp_path / "config.json").write_bytes(
        (small_run.folder / "model" / "config.json").read_bytes()
    )
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(InputError, match="does not fit"):
        Student.from_pretrained(tmp_path)


def test_weights_and_config_of_two_students_are_refused(small_run, tmp_path):
    """A kill between the two files leaves the weights of one with the temperature of another."""
    model = tmp_path / "model"
    shutil.copytree(small_run.folder / "model", model)
    other = Student.from_pretrained(model)
    other.basis_scores.add_(0.01)
    other.save_pretrained(tmp_path / "other")
    for storage in ("float32", "float16", "int8"):
        other.save_pretrained(tmp_path / "other", storage=storage)
        again = Student.from_pretrained(tmp_path / "other")
        noted = json.loads((tmp_path / "other" / "config.json").read_text())["weights_sha256"]
        assert noted == weights_sha256(again)
    shutil.copy(tmp_path / "other" / "model.safetensors", model)
    with pytest.raises(InputError, match="are of two students"):
        Student.from_pretrained(model)


def test_an_onnx_file_of_other_weights_is_refused(small_run, tmp_path):
    model = small_run.student.save_pretrained(tmp_path / "model")
    export_onnx(small_run.student, model / "onnx" / "model.onnx")
    for precision in ("int8", "fp16"):  # its name is all that is looked at here
        shutil.copy(model / "onnx" / "model.onnx", onnx_file(model, precision))
    Scorer(model, precision="int8")
    changed = Student.from_pretrained(model)
    changed.basis_scores.mul_(0.9)
    other = changed.save_pretrained(tmp_path / "other")
    shutil.copytree(other, model, dirs_exist_ok=True)
    for precision in ("fp32", "int8", "fp16"):
        wanted = "" if precision == "fp32" else f" --precision {precision}"
        for given in (model, onnx_file(model, precision)):
            with pytest.raises(InputError, match=f"other weights.*Type: rali export.*{wanted}$"):
                Scorer(given, precision=precision)
    moved = tmp_path / "elsewhere" / "model.onnx"
    moved.parent.mkdir()
    shutil.copy(onnx_file(model), moved)
    Scorer(moved)  # a file by itself is its own model
    with pytest.raises(InputError, match="exported from other weights than this student's"):
        changed.push_to_hub("me/student", onnx=moved)


def test_embeddings_are_those_that_are_scored_and_do_not_depend_on_the_batch(
    small_run, photograph_files
):
    student, steps = small_run.student, []
    found = student.embed(
        photograph_files, batch_size=2, progress=lambda stage, *done: steps.append((stage, *done))
    )
    assert found.shape == (5, 24) and found.dtype == np.float32
    assert steps == [("embed", 2, 5), ("embed", 4, 5), ("embed", 5, 5)]
    np.testing.assert_allclose(student.embed(photograph_files), found, atol=1e-5)
    scores = student.score_embeddings(torch.from_numpy(found)).numpy()
    np.testing.assert_allclose(student.score(photograph_files), scores, atol=1e-5)
    assert student.project(torch.from_numpy(found)).shape == (5, 16)


def test_no_pictures_have_no_scores(small_run):
    assert small_run.student.score([]).shape == (0,)
    assert small_run.student.embed([]).shape == (0, 24)


def test_a_single_picture_is_a_list_of_one(small_run, photograph_files):
    student = small_run.student
    array = open_picture(photograph_files[0])
    for single in (photograph_files[0], str(photograph_files[0]), array):
        for method in (student.score, student.embed):
            np.testing.assert_array_equal(method(single), method([photograph_files[0]]))
    scores = student.score(iter(photograph_files[:2]))
    np.testing.assert_array_equal(scores, student.score(photograph_files[:2]))
