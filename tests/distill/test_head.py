"""From embeddings to a head that NumPy alone reads: equation 3, intervals, refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from typer.testing import CliRunner

from rali import Scorer
from rali.cli import app
from rali.data.features import Features
from rali.data.manifest import Row, read_manifest, write_manifest
from rali.errors import InputError
from rali.metrics import srcc
from rali.pictures.samples import sample_files
from rali.scoring.head import VectorScorer
from rali.scoring.rows import settings_of
from rali.student.student import Student, StudentConfig
from tiny_onnx import write_model

WIDTH = 12


def run(*arguments: str | Path):
    return CliRunner().invoke(app, list(map(str, arguments)))


def write(path: Path, names: list[str], vectors: np.ndarray, encoder: str = "") -> Path:
    table = pa.table(
        {"image": names, "embedding": pa.array(vectors.tolist(), pa.list_(pa.float32()))}
    )
    parquet.write_table(
        table.replace_schema_metadata({"encoder": encoder} if encoder else {}), path
    )
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A head, and the folder with its manifest and its embeddings; no picture exists."""
    folder = tmp_path_factory.mktemp("head")
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(260, WIDTH)).astype(np.float32)
    scores = 3 + 1.8 * np.tanh(vectors[:, 0] + 0.3 * vectors[:, 1])
    splits = ["train"] * 160 + ["val"] * 60 + ["test"] * 40
    names = [f"photos/{number}.jpg" for number in range(260)]
    rows = [
        Row(folder / name, float(score), dataset="made", split=split)
        for name, score, split in zip(names, scores, splits, strict=True)
    ]
    write_manifest(rows, folder / "manifest.csv")
    write(folder / "e.parquet", names, vectors, "clip-vit-l-14")
    done = run(
        "distill", folder / "manifest.csv", "--features", folder / "e.parquet",
        "-o", folder / "run", "--set", "bases.count=40",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "embeddings of clip-vit-l-14, 12 numbers" in done.output.replace("\n", " ")
    return folder, vectors


def test_scores_are_those_of_the_students_equation_3(made):
    folder, vectors = made
    scorer = VectorScorer(folder / "run" / "model")
    head = scorer.head
    dim, count = head.components.shape[0], len(head.basis_scores)
    config = StudentConfig({"name": "none"}, {}, WIDTH, dim, count, temperature=scorer.temperature)
    student = Student(config, torch.nn.Identity())
    for name, value in vars(head).items():
        getattr(student, name).copy_(torch.from_numpy(value))
    expected = student.score_embeddings(torch.from_numpy(vectors)).numpy()
    assert np.abs(scorer(vectors) - expected).max() < 1e-5
    assert np.abs(scorer(vectors.astype(np.float64)[:1]) - expected[:1]).max() < 1e-5
    assert scorer(vectors[:0]).shape == (0,)


def test_the_command_scores_and_its_scores_can_be_evaluated(made, tmp_path):
    folder, vectors = made
    model = folder / "run" / "model"
    done = run(
        "score", folder / "e.parquet", "-m", model, "--interval", 0.8, "-o", tmp_path / "s.csv"
    )
    assert done.exit_code == 0, done.output
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[0] == "image,score,low,high,error" and len(lines) == 261
    name, score, low, high, _ = lines[1].split(",")
    scorer = VectorScorer(model)
    assert name == "photos/0.jpg" and float(score) == pytest.approx(scorer(vectors)[0], abs=1e-5)
    assert (float(low), float(high)) == pytest.approx(scorer.interval.around(float(score), 0.8))
    shutil.copy(folder / "manifest.csv", tmp_path)
    done = run(
        "evaluate", tmp_path / "s.csv", tmp_path / "manifest.csv", "--split", "test", "--json"
    )
    assert done.exit_code == 0, done.output
    test = [row.score for row in read_manifest(folder / "manifest.csv") if row.split == "test"]
    told = json.loads(done.output)["average"]["srcc"]
    assert told == pytest.approx(srcc(scorer(vectors[220:]), test), abs=1e-4) and told > 0.8


def test_rows_without_a_vector_are_rows_with_an_error(made, tmp_path):
    folder, vectors = made
    bad = vectors[:2].copy()
    bad[1, 3] = np.inf
    done = run(
        "score",
        write(tmp_path / "e.parquet", ["a", "b"], bad),
        "-m",
        folder / "run/model",
        "-f",
        "csv",
    )
    assert done.exit_code == 1
    assert "b,,The embedding in row 1 holds NaN or infinity." in done.stdout


def test_what_scoring_refuses(made, tmp_path):
    folder, vectors = made
    model = folder / "run" / "model"
    scorer = VectorScorer(model)
    with pytest.raises(
        InputError, match=r"\[3, 5\]; .* scores embeddings \[n, 12\] of clip-vit-l-14"
    ):
        scorer(np.zeros((3, 5), np.float32))
    bad = vectors.copy()
    bad[7, 2] = np.nan
    with pytest.raises(InputError, match="Row 7 of the embeddings holds NaN or infinity"):
        scorer(bad)
    with pytest.raises(InputError, match="int64; expected floats"):
        scorer(np.zeros((3, WIDTH), int))
    other = write(tmp_path / "o.parquet", ["a"], vectors[:1], "dinov3")
    narrow = write(tmp_path / "n.parquet", ["a"], vectors[:1, :5])
    for file, words in ((other, "embeddings of dinov3"), (narrow, "have 5 numbers")):
        refused = run("score", file, "-m", model).exception
        assert isinstance(refused, InputError) and words in str(refused)
    refused = run("score", other, "-m", model, "--explain").exception
    assert str(refused).startswith("--explain is for pictures")
    refused = run("calibrate", model, folder / "manifest.csv").exception
    assert "is a head, whose interval" in str(refused)
    for opened in (Scorer, Student.from_pretrained):
        with pytest.raises(InputError, match="is a head: it scores embeddings, not pictures"):
            opened(model)


def test_damaged_folders_are_refused(made, tmp_path):
    folder, _ = made
    copy = shutil.copytree(folder / "run" / "model", tmp_path / "model")
    whole = (copy / "head.npz").read_bytes()
    (copy / "head.npz").write_bytes(whole[:-40])
    with pytest.raises(InputError, match="are of two heads"):
        VectorScorer(copy)
    with pytest.raises(InputError, match="is not the folder of a head"):
        VectorScorer(tmp_path)


def test_what_distilling_refuses(made, tmp_path):
    folder, _ = made

    def refused(*more: str | Path) -> str:
        given = ("--features", folder / "e.parquet", "-o", tmp_path / "run")
        error = run("distill", folder / "manifest.csv", *given, *more).exception
        assert isinstance(error, InputError)
        return str(error)

    assert "--encoder is for an encoder" in refused("--encoder", "nano")
    assert "align is not a setting" in refused("--set", "align.epochs=2")
    assert "holds embeddings of clip-vit-l-14, not of dino" in refused("--features-name", "dino")
    (tmp_path / "run" / "model").mkdir(parents=True, exist_ok=True)
    (tmp_path / "run" / "model" / "model.safetensors").touch()
    assert "holds a student" in refused()


def test_vectors_that_rali_writes_say_whose_they_are(tmp_path):
    model = write_model(tmp_path / "m" / "onnx" / "model.onnx").parent.parent
    for name, count in (("e.parquet", 1), ("shards", 2)):
        pictures = sample_files()[:count]
        done = run("score", *pictures, "-m", model, "--embeddings", "column", "-o", tmp_path / name)
        assert done.exit_code == 0, done.output
        features = Features(tmp_path / name)
        assert features.encoder == f"rali-{settings_of(Scorer(model))['weights'][:8]}"
        assert np.allclose(features.of(pictures), Scorer(model).embed(pictures))


def test_a_head_needs_neither_torch_nor_onnxruntime(made):
    folder, _ = made
    code = (
        "import sys, numpy; from rali.scoring.head import VectorScorer\n"
        "s = VectorScorer(sys.argv[1]); print(s(numpy.ones((2, 12)))[0], s.interval.radius(0.9))\n"
        "assert not {'torch', 'onnxruntime', 'sklearn', 'pyarrow'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, str(folder / "run" / "model")]
    subprocess.run(command, check=True, capture_output=True)
