"""Hugging Face data sets, Ray Data and Daft: the examples as they are typed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .conftest import INTEGRATIONS

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def run(*arguments: object) -> str:
    command = [sys.executable, str(INTEGRATIONS / arguments[0]), *map(str, arguments[1:])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_data_set_is_scored_and_filtered(folder, expected, middle, tmp_path):
    datasets = pytest.importorskip("datasets")
    said = run("hugging_face_datasets.py", folder, "--least", middle, "-o", tmp_path / "scored")
    assert f"3 of 7 pictures score {middle:g} or more." in said
    kept = datasets.load_from_disk(tmp_path / "scored")
    wanted = sorted(s for s in expected if s is not None and s >= middle)
    assert sorted(kept["score"]) == pytest.approx(wanted, abs=1e-4)
    assert kept[0]["image"].size, "pictures are still decoded"


def test_options_and_the_format_are_kept(integration, files):
    datasets = pytest.importorskip("datasets")
    pictures = datasets.Dataset.from_dict({"image": files, "id": list(range(7))})
    pictures = pictures.cast_column("image", datasets.Image())
    scored = integration("hugging_face_datasets").scored(
        pictures.with_format("numpy"), interval=0.9
    )
    assert scored.format["type"] == "numpy"
    assert scored.column_names == ["image", "id", "score", "error", "low", "high"]
    assert scored.with_format(None)["score"][6] is None


@pytest.mark.parametrize("engine", [pytest.param("ray", marks=pytest.mark.slow), "daft"])
def test_a_table_is_scored(engine, files, expected, tmp_path):
    pytest.importorskip(engine)
    table, scored = tmp_path / "pictures.parquet", tmp_path / "scored"
    parquet.write_table(pa.table({"image": files, "id": list(range(7))}), table)
    run("ray_and_daft.py", engine, table, scored)
    rows = sorted(parquet.read_table(scored).to_pylist(), key=lambda row: row["id"])
    assert [row["image"] for row in rows] == files
    assert [row["score"] for row in rows] == [s and pytest.approx(s, abs=1e-4) for s in expected]
    assert [row["error"] is None for row in rows] == [True] * 6 + [False]
