"""Commands that are killed at random moments finish as if nobody had touched them."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faults.harness import SAMPLE, Command, kills, survives
from rali.data.manifest import Row, read_manifest, write_manifest
from rali.data.triplets import read_triplets
from rali.pictures.samples import NOT_SQUARE, sample_files, sample_photographs
from rali.scoring.model_folder import find_weights

COUNT = 40  # pictures
beyond_the_sample = pytest.mark.skipif(SAMPLE, reason="a long one: make test-faults")


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """Pieces of real photographs, one of them damaged."""
    folder = tmp_path_factory.mktemp("photos")
    draw, sources = np.random.default_rng(0), sample_photographs()
    for number in range(COUNT):
        rgb = sources[number % len(sources)]
        top, left = (int(draw.integers(0, edge - 160)) for edge in rgb.shape[:2])
        piece = Image.fromarray(rgb[top : top + 160, left : left + 160])
        piece.save(folder / f"{number:03d}.jpg", quality=int(draw.integers(20, 96)))
    whole = (folder / "007.jpg").read_bytes()
    (folder / "007.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(scope="session")
def manifest(photos) -> Path:
    """Scores for the whole ones; a split of 30 to calibrate on."""
    draw = np.random.default_rng(1)
    rows = [
        Row(path, float(draw.uniform(1, 5)), split="val" if number < 31 else "test")
        for number, path in enumerate(sorted(photos.glob("*.jpg")))
        if path.name != "007.jpg"
    ]
    write_manifest(rows, photos / "labels.csv")
    return photos / "labels.csv"


def contents(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file by its name, but for locks."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock" and path.suffix != ".tmp"
    }


def scored(path: Path) -> list[tuple[Any, ...]]:
    """(picture, score, whether it failed) of each row, however it is written."""
    if path.is_dir() or path.suffix == ".parquet":
        from pyarrow import parquet

        rows = parquet.read_table(path).to_pylist()
    elif path.suffix == ".csv":
        rows = list(csv.DictReader(path.read_text("utf-8").splitlines()))
    else:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return sorted(
        (row["image"], float(row["score"]) if row["score"] else None, bool(row["error"]))
        for row in rows
    )


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_score(form, photos, tmp_path):
    command = Command(
        f"score -o x.{form}",
        lambda out: ["score", photos, "-o", out / f"x.{form}"],
        lambda out: scored(out / f"x.{form}"),
        codes=(1,),  # one picture is damaged
    )
    survives(command, tmp_path, kills())


def test_data_import(manifest, tmp_path):
    table = manifest.with_name("table.csv")
    rows = read_manifest(manifest)
    table.write_text("image,mos\n" + "".join(f"{r.image.name},{r.score}\n" for r in rows))
    command = Command(
        "data import csv",
        lambda out: [
            *("data", "import", "csv", table, "--images", table.parent),
            *("--range", 1, 5, "-o", out / "m.csv"),
        ],
        lambda out: [(r.image.name, r.score, r.split) for r in read_manifest(out / "m.csv")],
    )
    survives(command, tmp_path, kills())


def test_data_degrade(tmp_path):
    photographs = sample_files(NOT_SQUARE)
    command = Command(
        "data degrade",
        lambda out: ["data", "degrade", *photographs, "--size", 96, "-o", out],
        contents,
    )
    survives(command, tmp_path, kills())


def test_data_rationales(manifest, tmp_path):
    command = Command(
        "data rationales",
        lambda out: ["data", "rationales", manifest, "-o", out],
        lambda out: sorted((t.image.name, t.seed, t.reasoning) for t in read_triplets(out)),
    )
    survives(command, tmp_path, kills())


def test_evaluate(manifest, tmp_path):
    def result(out: Path) -> Any:
        return {name: held for name, held in contents(out).items() if name != "scatter.png"}

    command = Command("evaluate", lambda out: ["evaluate", "builtin", manifest, "-o", out], result)
    survives(command, tmp_path, kills())


def test_calibrate(manifest, tmp_path):
    def arguments(out: Path) -> list[Path | str]:
        if not (out / "model").is_dir():
            shutil.copytree(find_weights("builtin"), out / "model")
        return ["calibrate", out / "model", manifest]

    command = Command("calibrate", arguments, contents)
    survives(command, tmp_path, kills())


@beyond_the_sample
def test_export(photos, tmp_path):
    from rali import Scorer

    command = Command(
        "export",
        lambda out: ["export", "builtin", "--pictures", photos / "000.jpg", "-o", out / "x.onnx"],
        lambda out: (
            sorted(contents(out)),
            Scorer(out / "x.onnx")(sorted(photos.glob("00[1-5]*"))),
        ),
    )
    survives(command, tmp_path, kills())
