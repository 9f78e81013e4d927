"""Commands that are killed at random moments finish as if nobody had touched them."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from official_release import small_clip, write_release
from pyarrow import parquet

from faults.conftest import COUNT
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


# A shard is due every 10,000 pictures, which these are not.
SMALL_SHARDS = (
    "-c",
    "import rali.cli._resume as resume; resume.UNIT = 7; from rali.cli import main; main()",
)


def test_score_into_shards(photos, tmp_path):
    def result(out: Path) -> Any:
        assert not list(out.rglob("*.tmp"))
        return scored(out / "scores")

    command = Command(
        "score -o FOLDER",
        lambda out: ["score", photos, "-o", out / "scores"],
        result,
        codes=(1,),
        program=SMALL_SHARDS,
    )
    survives(command, tmp_path, kills())


@beyond_the_sample
@pytest.mark.parametrize("form", ["npy", "parquet"])
def test_score_with_embeddings(form, photos, tmp_path):
    rows, vectors = ("x.csv", "x.npy") if form == "npy" else ("x.parquet", "column")

    def arguments(out: Path) -> list[Path | str]:
        place = out / vectors if form == "npy" else vectors
        return ["score", photos, "-o", out / rows, "--embeddings", place]

    def result(out: Path) -> Any:
        held = (
            np.load(out / vectors)
            if form == "npy"
            else parquet.read_table(out / rows)["embedding"].to_pylist()
        )
        assert len(held) == COUNT
        return scored(out / rows), pickle.dumps(held)

    command = Command(f"score --embeddings, {form}", arguments, result, codes=(1,))
    survives(command, tmp_path, kills())


@pytest.mark.parametrize("verb", ["copy", "move"])
def test_score_and_collect(verb, photos, tmp_path):
    """Each picture is in one place (or two) in the end, and a namesake is not overwritten."""

    def arguments(out: Path) -> list[str]:
        if not (out / "photos").is_dir():
            shutil.copytree(photos, out / "photos")
            (out / "kept").mkdir()
            (out / "kept" / "000.jpg").write_text("somebody else's")
        select = ("--where", "score < 3.5", "-o", "x.csv")
        return ["score", "photos", *select, f"--{verb}-to", "kept"]

    def result(out: Path) -> Any:
        pictures = contents(out / "photos"), contents(out / "kept")
        held = [{k: v for k, v in files.items() if not k.startswith(".")} for files in pictures]
        assert (out / "kept" / "000.jpg").read_text() == "somebody else's"
        assert not list(out.rglob("*.tmp"))
        return scored(out / "x.csv"), held

    command = Command(f"score --{verb}-to", arguments, result, codes=(0, 1))
    survives(command, tmp_path, kills())


@beyond_the_sample
def test_convert_clip(tmp_path):
    small_clip().save_pretrained(tmp_path / "clip")
    command = Command(
        "convert clip",
        lambda out: [
            *("convert", "clip", tmp_path / "clip" / "model.safetensors"),
            *("-o", out / "x.safetensors"),
        ],
        contents,
    )
    survives(command, tmp_path, kills())


@beyond_the_sample
def test_convert_official_rali(tmp_path):
    (tmp_path / "RALI").mkdir()
    release = write_release(small_clip(), tmp_path / "RALI")
    command = Command(
        "convert official-rali",
        lambda out: ["convert", "official-rali", release, "-o", out / "model"],
        contents,
    )
    survives(command, tmp_path, kills())


@beyond_the_sample
def test_data_split(manifest, tmp_path):
    command = Command(
        "data split",
        lambda out: ["data", "split", manifest, "-o", out / "m.csv"],
        lambda out: [(r.image.name, r.score, r.split) for r in read_manifest(out / "m.csv")],
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
