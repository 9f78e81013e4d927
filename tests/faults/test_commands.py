"""Commands that are killed at random moments finish as if nobody had touched them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from faults.harness import SAMPLE, Command, contents, kills, scored, survives
from rali.data.manifest import read_manifest
from rali.data.triplets import read_triplets
from rali.pictures.samples import NOT_SQUARE, sample_files
from rali.scoring.model_folder import find_weights

beyond_the_sample = pytest.mark.skipif(SAMPLE, reason="a long one: make test-faults")


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


@beyond_the_sample
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
            Scorer(out / "x.onnx")(sorted(photos.glob("00[1-5]*"))).tolist(),
        ),
    )
    survives(command, tmp_path, kills())
