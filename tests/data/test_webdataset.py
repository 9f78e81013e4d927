"""Manifests that hold their pictures: archives as webdataset packs them, Parquet with bytes."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rali.data.manifest import Row, read_manifest, read_pairs, write_manifest
from rali.errors import InputError, PictureError
from rali.pictures.inside import is_there, picture_marks, picture_sha256
from rali.pictures.read import open_picture


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), shade, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def tar(path: Path, members: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


KNOWN = {"score": 4.5, "split": "val", "content": "scene 1", "caption": "ignored"}
MEMBERS = {
    "deep/a.png": png(10),
    "deep/a.json": json.dumps(KNOWN).encode(),
    "b.cls": b"2\n",
    "b.png": png(20),
    "c.png": png(30),
    "c.txt": b"3.25",
    "d.png": png(40),
    "notes.md": b"not read",
}


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_is_a_manifest(tmp_path, kind):
    path = tmp_path / f"0.{kind}"
    if kind == "tar":
        tar(path, MEMBERS)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in MEMBERS.items():
                archive.writestr(name, data)
    rows = read_manifest(path, check_files=True)
    assert rows == [
        Row(path / "deep" / "a.png", 4.5, split="val", content="scene 1"),
        Row(path / "b.png", 2.0),
        Row(path / "c.png", 3.25),
        Row(path / "d.png"),
    ]
    assert [int(open_picture(row.image)[0, 0, 0]) for row in rows] == [10, 20, 30, 40]
    write_manifest(rows, tmp_path / "m.csv")  # a table may name what lies inside
    assert f"\n0.{kind}/b.png," in (tmp_path / "m.csv").read_text()
    assert read_manifest(tmp_path / "m.csv", check_files=True) == rows


def test_dots_in_a_name_lose_no_score(tmp_path):
    members = {
        "a.b.png": png(1), "a.b.json": b'{"score": 1.5}', "a.c.png": png(2), "a.c.cls": b"2",
        "v1.0/d.png": png(3), "v1.0/d.caption.txt": b"a dog", "v1.0/d.meta.json": b"[]",
        "v1.0/d.cls": b"3", "e.jpg.png": png(4), "e.json": b'{"score": 4}',
        "f.rgb.png": png(5), "f.json": b'{"score": 5}', "f.rgb.txt": b"a cat",
    }  # fmt: skip
    rows = read_manifest(tar(tmp_path / "0.tar", members))
    assert [row.score for row in rows] == [1.5, 2, 3, 4, 5]


@pytest.mark.parametrize("cells", ["bytes", "struct"])
def test_a_parquet_with_pictures_is_a_manifest(tmp_path, cells):
    (tmp_path / "beside.png").write_bytes(png(30))
    images: list = [png(10), png(20), None]
    if cells == "struct":
        images = [{"bytes": each, "path": "x.png"} for each in images[:2]]
        images.append({"bytes": None, "path": "beside.png"})
    table = pa.table({"image": images, "score": [1.5, None, 5.0], "other": [b"x"] * 3})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    rows = read_manifest(tmp_path / "t.parquet")
    assert rows == [
        Row(tmp_path / f"t.parquet#{n}", score) for n, score in enumerate([1.5, None, 5.0])
    ]
    assert [int(open_picture(row.image)[0, 0, 0]) for row in rows[:2]] == [10, 20]
    if cells == "struct":
        assert int(open_picture(rows[2].image)[0, 0, 0]) == 30
    else:
        with pytest.raises(PictureError, match="nothing in column 'image'"):
            open_picture(rows[2].image)
    assert not is_there(tmp_path / "t.parquet#3")
    assert not is_there(tmp_path / "t.parquet#01")  # one picture has one name


def test_a_column_of_bytes_where_text_is_expected_is_refused(tmp_path):
    pq.write_table(pa.table({"image": ["a"], "content": [b"x"]}), tmp_path / "m.parquet")
    with pytest.raises(InputError, match="column 'content' holds bytes or pictures"):
        read_manifest(tmp_path / "m.parquet")
    columns = {"image_a": [png(1)], "image_b": [png(2)], "result": ["A"]}
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    with pytest.raises(InputError, match="column 'image_a' holds bytes or pictures"):
        read_pairs(tmp_path / "p.parquet")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.png": png(1), "a.json": b'{"score": 7}'}, r"0\.tar/a\.png, column 'score': '7'"),
        ({"a.png": png(1), "a.txt": b"a dog"}, r"0\.tar/a\.png, column 'score': 'a dog'"),
        ({"a.png": png(1), "a.json": b"{"}, r"0\.tar/a\.json is not JSON"),
        ({"a.png": png(1), "a.json": b"[1]"}, r"0\.tar/a\.json holds no object"),
        ({"a.png": png(1), "a.cls": b"\xff"}, r"0\.tar/a\.cls is not text"),
        ({"a.png": png(1), "a.mask.png": png(2), "a.cls": b"1"}, "are one sample"),
        ({"a.l.png": png(1), "a.r.png": png(2), "a.json": b"{}"}, "are one sample"),
        (
            {"a.l.png": png(1), "a.r.png": png(2), "a.json": b"{}", "a.l.cls": b"1"},
            "are one sample",
        ),
        ({"../a.png": png(1)}, "leads out of the archive"),
    ],
)
def test_what_is_wrong_beside_a_picture_is_named(tmp_path, members, message):
    with pytest.raises(InputError, match=message):
        read_manifest(tar(tmp_path / "0.tar", members))


def test_a_packed_or_cut_archive_is_refused(tmp_path):
    with pytest.raises(InputError, match="unpack it"):
        read_manifest(tar(tmp_path / "0.tar.gz", MEMBERS, "w:gz"))
    cut = tar(tmp_path / "1.tar", MEMBERS)
    cut.write_bytes(cut.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"1\.tar is damaged behind byte"):
        read_manifest(cut)
    with pytest.raises(InputError, match="no manifest at"):
        read_manifest(tmp_path / "2.tar")


def test_a_picture_inside_has_hash_and_marks(tmp_path):
    path = tar(tmp_path / "0.tar", MEMBERS)
    (tmp_path / "b.png").write_bytes(png(20))
    assert picture_sha256(path / "b.png") == picture_sha256(tmp_path / "b.png")
    before = picture_marks([path / "b.png", tmp_path / "b.png"])
    tar(path, {"b.png": png(21)})  # in place of the archive: read anew
    assert picture_marks([path / "b.png"]) != before[:1]
    assert open_picture(path / "b.png")[0, 0, 0] == 21
    with pytest.raises(InputError, match=r"0\.tar/c\.png cannot be read.*no picture of this name"):
        picture_sha256(path / "c.png")
    with pytest.raises(PictureError, match="There is no such file"):
        open_picture(tmp_path / "none.tar" / "c.png")
