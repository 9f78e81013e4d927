"""A distillation whose pictures lie in a Parquet file or in tar shards, and never on disk."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rali.data.manifest import COLUMNS, Row, read_manifest
from rali.data.reference_rationales import build_reference_triplets
from rali.data.triplets import read_triplets
from rali.distill.pipeline import distill
from rali.distill.plan import plan
from rali.errors import InputError
from small import SmallRun, small_encoder

KNOWN = [name for name in COLUMNS if name not in ("image", "reference")]


def parquet(rows: list[Row], folder: Path) -> list[Path]:
    cells = [{"bytes": row.image.read_bytes(), "path": row.image.name} for row in rows]
    columns = {name: [getattr(row, name) for row in rows] for name in KNOWN}
    path = folder / "pictures.parquet"
    pq.write_table(pa.table({"image": cells, **columns}), path, row_group_size=7)
    return [path]


def shards(rows: list[Row], folder: Path) -> list[Path]:
    paths = [folder / f"{shard}.tar" for shard in range(4)]
    for shard, path in enumerate(paths):
        with tarfile.open(path, "w") as archive:
            for number, row in enumerate(rows[shard * 10 : (shard + 1) * 10]):
                known = {name: getattr(row, name) for name in KNOWN}
                files = {row.image.suffix: row.image.read_bytes()}
                for suffix, data in {**files, ".json": json.dumps(known).encode()}.items():
                    info = tarfile.TarInfo(f"{number:04d}{suffix}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    return paths


@pytest.mark.slow
@pytest.mark.parametrize(("pack", "workers"), [(parquet, 0), (shards, 0), (shards, 2)])
def test_the_student_is_the_same_to_the_last_byte(small_run: SmallRun, tmp_path, pack, workers):
    manifests = pack(small_run.rows, tmp_path)
    rows = [row for path in manifests for row in read_manifest(path, check_files=True)]
    train = [row for row in rows if row.split == "train"]
    build_reference_triplets(train, tmp_path / "triplets", count=3, workers=1)
    triplets = read_triplets(tmp_path / "triplets")
    assert {t.image for t in triplets} == {row.image for row in train}
    align = dataclasses.replace(small_run.config.align, workers=workers)
    config = dataclasses.replace(small_run.config, align=align)
    assert "21 to train on" in plan(config, rows, triplets, 3)
    distill(config, rows, triplets, tmp_path / "run", encoder=small_encoder())
    made, expected = (
        (run / "model" / "model.safetensors").read_bytes()
        for run in (tmp_path / "run", small_run.folder)
    )
    assert made == expected


def test_a_damaged_member_is_named_with_its_archive(small_run: SmallRun, tmp_path):
    path = shards(small_run.rows, tmp_path)[0]
    rows = [row for row in read_manifest(path) if row.split == "train"]
    build_reference_triplets(rows, tmp_path / "triplets", count=1, workers=1)
    triplets = read_triplets(tmp_path / "triplets")
    with tarfile.open(path) as archive:
        member = archive.getmember("0004.png")
    with path.open("r+b") as file:
        file.seek(member.offset_data + member.size // 2)
        file.write(bytes(64))
    with pytest.raises(InputError, match=r"0\.tar/0004\.png has changed"):
        distill(small_run.config, rows, triplets, tmp_path / "run", encoder=small_encoder())
    shutil.rmtree(tmp_path / "triplets")
    with pytest.raises(InputError, match=r"0\.tar/0004\.png: .*damaged"):
        build_reference_triplets(rows, tmp_path / "triplets", count=1, workers=1)
