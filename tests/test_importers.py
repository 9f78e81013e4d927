"""Importers: native ranges, directions, splits and contents of each release, and their errors."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from rali.errors import InputError
from rali.importers import (
    IMPORTERS,
    biq2021,
    csv_columns,
    deqa,
    folder,
    koniq10k,
    meta_info,
    rescale,
)
from rali.manifest import Row, read_manifest, write_manifest


def release(root: Path, name: str, text: str, pictures: tuple[str, ...] = ()) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    for picture in pictures:
        (root / picture).parent.mkdir(parents=True, exist_ok=True)
        (root / picture).touch()
    return path


@pytest.mark.parametrize(
    ("raw", "low", "high", "expected"),
    [(0, 0, 1, 1), (1, 0, 1, 5), (0.5, 0, 1, 3), (25, 100, 0, 4), (0, 1, 0, 5), (-1, -1, 3, 1)],
)
def test_rescale(raw: float, low: float, high: float, expected: float) -> None:
    assert rescale(raw, low, high) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("raw", "low", "high"),
    [(1.1, 0, 1), (-1, 0, 1), (101, 100, 0), (float("nan"), 0, 1), (1, 2, 2)],
)
def test_rescale_refuses(raw: float, low: float, high: float) -> None:
    with pytest.raises(InputError, match="range"):
        rescale(raw, low, high)


def test_rescale_never_leaves_1_to_5_by_rounding() -> None:
    assert rescale(88.3888888889, 3.91176470588, 88.3888888889) == 5.0
    assert rescale(3.91176470588, 3.91176470588, 88.3888888889) == 1.0


BIQ = "image,mos,split,subset,scene\nss01 (1).jpg,0.5,train,ss01,s1\nss03 (2).JPG,1,val,ss03,s2\n"


def test_biq2021(tmp_path: Path) -> None:
    release(tmp_path, "index.csv", BIQ, ("images/ss01 (1).jpg", "images/SS03 (2).jpg"))
    first, second = biq2021.read(tmp_path)
    images = tmp_path / "images"
    assert first == Row(images / "ss01 (1).jpg", 3.0, 0.5, "biq2021", "s1", "train")
    assert second.image == images / "SS03 (2).jpg"  # matched without case
    assert second.score == 5.0
    names = [row.dataset for row in biq2021.read(tmp_path, by_subset=True)]
    assert names == ["biq2021-ss01", "biq2021-ss03"]


def test_missing_pictures_are_one_sentence(tmp_path: Path) -> None:
    release(tmp_path, "index.csv", BIQ, ("images/ss01 (1).jpg",))
    with pytest.raises(InputError, match=r"1 of the 2 pictures .* ss03 \(2\)\.JPG.*--labels-only"):
        biq2021.read(tmp_path)
    assert len(biq2021.read(tmp_path, labels_only=True)) == 2


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("0.5", "half", r"index\.csv, row 2, column 'mos': 'half' is not a number"),
        ("0.5", "1.5", r"index\.csv, row 2, column 'mos': score 1\.5 is outside the range 0 to 1"),
        (",val,", ",dev,", r"index\.csv, row 3, column 'split': 'dev'"),
        ("scene", "place", r"index\.csv has no column 'scene'"),
        ("ss01 (1).jpg", "", r"index\.csv, row 2, column 'image': empty"),
    ],
)
def test_errors_name_file_and_row(tmp_path: Path, old: str, new: str, expected: str) -> None:
    release(tmp_path, "index.csv", BIQ.replace(old, new))
    with pytest.raises(InputError, match=expected):
        biq2021.read(tmp_path, labels_only=True)


@pytest.mark.data
def test_biq2021_as_it_is(data_dir: Path, tmp_path: Path) -> None:
    rows = biq2021.read(data_dir / "biq2021")
    assert len(rows) == 3242
    assert Counter(row.split for row in rows) == {"train": 2451, "val": 267, "test": 524}
    assert all(row.score == pytest.approx(1 + 4 * (row.raw_score or 0)) for row in rows)
    write_manifest(rows, tmp_path / "biq.csv")  # no scene straddles, no picture twice
    assert read_manifest(tmp_path / "biq.csv", check_files=True) == rows


KONIQ_SETS = (
    "image_name,c1,c_total,MOS,SD,set\n"
    "1.jpg,0,105,88.3888888889,0.5,training\n"
    "2.JPG,0,96,46.15032679734,0.6,validation\n"
    "3.jpg,0,96,3.91176470588,0.7,test\n"
)


def test_koniq10k(tmp_path: Path) -> None:
    pictures = tuple(f"512x384/{number}.jpg" for number in (1, 2, 3))
    release(tmp_path, koniq10k.SETS, KONIQ_SETS, pictures)
    rows = koniq10k.read(tmp_path)
    assert [row.score for row in rows] == pytest.approx([5.0, 3.0, 1.0])
    assert [row.split for row in rows] == ["train", "val", "test"]
    assert [row.std for row in rows] == [0.5, 0.6, 0.7]
    assert rows[1].image == tmp_path / "512x384" / "2.jpg"
    with pytest.raises(InputError, match="3 of the 3 pictures"):
        koniq10k.read(tmp_path, resolution="1024x768")
    with pytest.raises(InputError, match="expected 1024x768 or 512x384"):
        koniq10k.read(tmp_path, resolution="64x64")


def test_koniq10k_scores_file_gives_the_same_scores(tmp_path: Path) -> None:
    text = '"image_name","MOS","SD","MOS_zscore"\n"1.jpg",4.2,0.5,88.3888888889\n'
    release(tmp_path, koniq10k.SCORES, text, ("1024x768/1.jpg",))
    (row,) = koniq10k.read(tmp_path)
    assert (row.score, row.raw_score, row.split) == (5.0, 88.3888888889, "")


def test_koniq10k_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds neither"):
        koniq10k.read(tmp_path)


@pytest.mark.data
def test_koniq10k_score_file(data_dir: Path, tmp_path: Path) -> None:
    rows = koniq10k.read(data_dir / "score_files", labels_only=True)
    assert Counter(row.split for row in rows) == {"train": 7058, "val": 1000, "test": 2015}
    scores = [row.score for row in rows if row.score is not None]
    assert (len(scores), min(scores), max(scores)) == (10073, 1.0, 5.0)
    assert rows[0].score == pytest.approx(1 + 4 * (77.3836206897 - 3.91176470588) / 84.47712418302)
    write_manifest(rows, tmp_path / "koniq.csv")
    with pytest.raises(InputError, match="10073 of the 10073 pictures"):
        koniq10k.read(data_dir / "score_files")


@pytest.mark.parametrize("header", ["img_name,mos,std,split\n", ""])
def test_meta_info_without_references(tmp_path: Path, header: str) -> None:
    text = header + "a.png,75,10,training\nB.png,0,5,test\n"
    path = release(tmp_path, "meta_info_Some.csv", text, ("a.png", "b.PNG"))
    rows = meta_info.read(path, score_range=(0, 100))
    assert [(row.image.name, row.score, row.std) for row in rows] == [
        ("a.png", 4.0, 0.4),
        ("b.PNG", 1.0, 0.2),
    ]
    assert [row.split for row in rows] == (["train", "test"] if header else ["", ""])
    assert {row.dataset for row in rows} == {"Some"}


@pytest.mark.parametrize("header", ["ref_name,dist_name,dmos,std\n", ""])
def test_meta_info_with_references(tmp_path: Path, header: str) -> None:
    text = header + "R1.png,r1_a.png,0.25,0.1\nr1.png,r1_b.png,1,0.2\n"
    path = release(tmp_path, "m.csv", text, ("im/r1_a.png", "im/r1_b.png", "ref/r1.png"))
    rows = meta_info.read(
        path, score_range=(1, 0), images=tmp_path / "im", references=tmp_path / "ref", dataset="x"
    )
    assert [row.score for row in rows] == [4.0, 1.0]  # DMOS, flipped
    assert [row.raw_score for row in rows] == [0.25, 1.0]
    assert {row.content for row in rows} == {"r1"}  # one content, however its name is written
    assert {row.reference for row in rows} == {str(tmp_path / "ref" / "r1.png")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "has no rows"),
        ("name,mos\n", "has no rows"),
        ("name,mos\na.png,x\n", "row 2: neither"),
        ("name,mos\na.png,5\nb.png\n", "row 3: 1 cells"),
        ("name,mos\na.png,5\nb.png,\n", None),
        ("name,mos\na.png,500\n", "row 2, column 2: score 500.0 is outside"),
        ("name,mos,split\na.png,5,7\n", "row 2, column 'split': '7'"),
    ],
)
def test_meta_info_errors(tmp_path: Path, text: str, expected: str | None) -> None:
    path = release(tmp_path, "m.csv", text)
    if expected is None:
        assert meta_info.read(path, score_range=(0, 10), labels_only=True)[1].score is None
        return
    with pytest.raises(InputError, match=expected):
        meta_info.read(path, score_range=(0, 10), labels_only=True)


def test_deqa(tmp_path: Path) -> None:
    items = [
        {"image": "k/a.jpg", "gt_score": 75, "gt_score_norm": 4.1, "std": 5, "std_norm": 0.3},
        {"image": "k/b.jpg", "gt_score": 50, "gt_score_norm": 3.2, "std": 10},
    ]
    path = release(tmp_path, "test_k.json", json.dumps(items), ("k/a.jpg", "k/b.jpg"))
    rows = deqa.read(path, split="test")
    assert [(row.score, row.raw_score, row.std) for row in rows] == [
        (4.1, 75, 0.3),
        (3.2, 50, None),
    ]
    assert {(row.split, row.dataset) for row in rows} == {("test", "test_k")}
    rows = deqa.read(path, score_range=(0, 100))
    assert [(row.score, row.std) for row in rows] == [(4.0, 0.3), (3.0, 0.4)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "expected a list"),
        ("[1,", "not a JSON file"),
        ('[{"image": "a"}, 3]', "row 2: expected"),
        ('[{"gt_score": 1}]', "row 1: expected"),
        ('[{"image": "a", "gt_score": 70}]', "without gt_score_norm.*--range"),
        ('[{"image": "a", "gt_score_norm": 5.5}]', "row 1, gt_score_norm: score 5.5"),
        ('[{"image": "a", "gt_score_norm": NaN}]', "row 1, gt_score_norm: 'nan' is not a number"),
    ],
)
def test_deqa_errors(tmp_path: Path, text: str, expected: str) -> None:
    path = release(tmp_path, "m.json", text)
    with pytest.raises(InputError, match=expected):
        deqa.read(path, labels_only=True)


def test_folder(tmp_path: Path) -> None:
    release(tmp_path, "set/notes.txt", "", ("set/a10.png", "set/a2.jpg", "set/deep/x.png"))
    rows = folder.read(tmp_path / "set")
    assert [row.image.name for row in rows] == ["a2.jpg", "a10.png", "x.png"]
    assert all(row.dataset == "set" and row.score is None for row in rows)
    assert len(folder.read(tmp_path / "set", recursive=False)) == 2
    with pytest.raises(InputError, match="There is no folder"):
        folder.read(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        folder.read(tmp_path / "empty")


def test_csv_by_naming_columns(tmp_path: Path) -> None:
    text = "file,dmos,sd,scene,part\nA.png,80,8,s,Training\nb.png,,,t,\n"
    path = release(tmp_path, "list.csv", text, ("pics/a.png", "pics/b.png"))
    rows = csv_columns.read(
        path,
        images=tmp_path / "pics",
        image="file",
        score_column="dmos",
        score_range=(100, 0),
        std="sd",
        content="scene",
        split="part",
    )
    assert rows[0] == Row(
        tmp_path / "pics" / "a.png", pytest.approx(1.8), 80, "list", "s", "train", 0.32
    )
    assert (rows[1].score, rows[1].raw_score, rows[1].std, rows[1].split) == (None, None, None, "")


def test_csv_needs_a_range_for_scores(tmp_path: Path) -> None:
    path = release(tmp_path, "list.csv", "image,mos\na.png,3\n", ("a.png",))
    with pytest.raises(InputError, match="--range LOW HIGH"):
        csv_columns.read(path, score_column="mos")
    assert csv_columns.read(path)[0].score is None
    with pytest.raises(InputError, match="no column 'file' in row 1; it has: image, mos"):
        csv_columns.read(path, image="file")


@pytest.mark.data
def test_csv_on_a_real_release(data_dir: Path) -> None:
    rows = csv_columns.read(
        data_dir / "score_files" / "agiqa3k_data.csv",
        image="name",
        score_column="mos_quality",
        score_range=(0, 5),
        std="std_quality",
        content="prompt",
        labels_only=True,
    )
    assert len(rows) == 2982
    assert rows[0].score == pytest.approx(1 + 4 * 0.965602553 / 5)
    assert rows[0].content == "statue of a man"


def test_every_importer_is_listed() -> None:
    assert set(IMPORTERS) == {"biq2021", "csv", "deqa", "folder", "koniq10k", "meta-info"}
