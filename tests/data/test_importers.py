"""Importers: small releases built in a folder, and the real score files where they are at hand."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rali.data.importers import (
    biq2021,
    comparisons,
    csv_columns,
    deqa,
    dq495k,
    folder,
    koniq10k,
    meta_info,
    rescale,
)
from rali.data.manifest import read_manifest, write_manifest
from rali.data.splits import split_names
from rali.errors import InputError
from rali.metrics import srcc


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture")


# ── rescaling ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("raw", "low", "high", "expected"),
    [
        (0, 0, 1, 1),
        (1, 0, 1, 5),
        (0.25, 0, 1, 2),
        (50, 0, 100, 3),
        (75, 100, 0, 2),  # a DMOS of 75 is three quarters of the way to the worst
        (0, 100, 0, 5),
        (1100, 850, 1850, 2),
        (-1, -1, 1, 1),
    ],
)
def test_rescale(raw, low, high, expected):
    assert rescale(raw, low, high) == pytest.approx(expected, abs=1e-12)


@given(st.floats(0, 1), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_rescale_flips_when_the_range_is_turned(share, low, high):
    assume(abs(high - low) > 1e-3)
    raw = low + share * (high - low)
    assert 1 <= rescale(raw, low, high) <= 5
    assert rescale(raw, high, low) == pytest.approx(6 - rescale(raw, low, high), abs=1e-6)


@pytest.mark.parametrize(
    ("raw", "low", "high"), [(1.1, 0, 1), (-0.1, 0, 1), (float("nan"), 0, 1), (1, 3, 3)]
)
def test_rescale_refuses_what_is_outside(raw, low, high):
    with pytest.raises(InputError, match="range"):
        rescale(raw, low, high)


# ── any CSV ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def table(tmp_path) -> Path:
    path = tmp_path / "index.csv"
    path.write_text(
        "file,dmos,sigma,prompt,part,other\n"
        "A.JPG,80,10,a lake,training,x\n"
        "sub/b.png,20,,a lake,Training,\n"
        "c.png,,,,,\n"
    )
    touch(tmp_path / "p" / "a.jpg", tmp_path / "p" / "Sub" / "B.png", tmp_path / "p" / "c.png")
    return path


COLUMNS: dict[str, Any] = {
    "image": "file",
    "score_column": "dmos",
    "std": "sigma",
    "content": "prompt",
    "split": "part",
}


def test_csv_by_naming_columns(table):
    images = table.parent / "p"
    a, b, c = csv_columns.read(table, images=images, score_range=(100, 0), **COLUMNS)
    assert (a.image, b.image) == (images / "a.jpg", images / "Sub" / "B.png")
    assert (a.score, a.raw_score, a.std) == (pytest.approx(1.8), 80, pytest.approx(0.4))
    assert (b.score, b.std) == (pytest.approx(4.2), None)
    assert (a.dataset, a.content, a.split, b.split) == ("index", "a lake", "train", "train")
    assert (c.score, c.raw_score, c.content, c.split) == (None, None, "", "")


def test_csv_needs_a_range_for_scores(table):
    with pytest.raises(InputError, match="--range WORST BEST"):
        csv_columns.read(table, image="file", score_column="dmos", images=table.parent / "p")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"image": "picture"}, "no column 'picture' in row 1; it has: file, dmos"),
        ({"content": "scene"}, "no column 'scene'"),
        ({"score_range": (50, 0)}, "row 2, column 'dmos': 80.0 is outside"),
        ({"score_column": "prompt"}, "row 2, column 'prompt': 'a lake' is not a number"),
        ({"split": "prompt"}, "row 2, column 'prompt': 'a lake' is not a split"),
        ({"image": "other"}, "row 3, column 'other': empty"),
    ],
)
def test_csv_errors_name_row_and_column(table, change, expected):
    options = {"images": table.parent / "p", "score_range": (100, 0), **COLUMNS, **change}
    with pytest.raises(InputError, match=r"index\.csv") as error:
        csv_columns.read(table, **options)
    assert expected in str(error.value)


def test_missing_pictures_are_one_sentence(tmp_path):
    (tmp_path / "index.csv").write_text("image\n" + "".join(f"{i}.jpg\n" for i in range(6)))
    touch(tmp_path / "1.jpg")
    with pytest.raises(InputError) as error:
        csv_columns.read(tmp_path / "index.csv")
    assert "5 of the 6 pictures" in str(error.value)
    assert "0.jpg, 2.jpg, 3.jpg, …" in str(error.value)
    assert "--labels-only" in str(error.value)
    rows = csv_columns.read(tmp_path / "index.csv", labels_only=True)
    assert [row.image.name for row in rows] == [f"{i}.jpg" for i in range(6)]


# ── BIQ2021 ──────────────────────────────────────────────────────────────────────────────────────


def test_biq2021_by_scene(tmp_path):
    (tmp_path / "index.csv").write_text(
        "image,mos,split,subset,scene\nss01 (1).jpg,0.5,train,ss01,s1\nss03 (2).jpg,1,val,ss03,s2\n"
    )
    touch(tmp_path / "Images" / "ss01 (1).JPG", tmp_path / "Images" / "ss03 (2).jpg")
    a, b = biq2021.read(tmp_path)
    assert (a.score, a.raw_score, a.split, a.content, a.dataset) == (
        3.0,
        0.5,
        "train",
        "s1",
        "biq2021",
    )
    assert a.image == tmp_path / "Images" / "ss01 (1).JPG"
    assert (b.score, b.split) == (5.0, "val")
    datasets = [row.dataset for row in biq2021.read(tmp_path, by_subset=True)]
    assert datasets == ["biq2021-ss01", "biq2021-ss03"]


def test_biq2021_as_its_authors_ship_it(tmp_path):
    (tmp_path / "Train (Images and MOS).csv").write_text(
        "Image Name,MOS,,\nss03 (3753).jpg,0.8471,,\nss01 (1726).jpg,0.2874,,\n"
    )
    (tmp_path / "Test (Images and MOS).csv").write_text("Image Name,MOS\nss02 (167).jpg,0.3522\n")
    touch(*(tmp_path / "Images" / f"{n}.jpg" for n in ("ss03 (3753)", "ss01 (1726)", "ss02 (167)")))
    rows = biq2021.read(tmp_path, by_subset=True)
    assert [row.split for row in rows] == ["train", "train", "test"]
    assert [row.dataset[-4:] for row in rows] == ["ss03", "ss01", "ss02"]
    assert rows[0].score == pytest.approx(1 + 4 * 0.8471)
    write_manifest(rows, tmp_path / "manifest.csv")


def test_biq2021_errors(tmp_path):
    with pytest.raises(InputError, match=r"neither index\.csv nor"):
        biq2021.read(tmp_path)
    (tmp_path / "index.csv").write_text("image,mos,split,subset,scene\nx.jpg,,train,ss01,s1\n")
    with pytest.raises(InputError, match=r"row 2, column 'mos': empty"):
        biq2021.read(tmp_path)
    (tmp_path / "index.csv").write_text("image,mos,split,subset,scene\nx.jpg,3,train,ss01,s1\n")
    with pytest.raises(InputError, match=r"row 2: 3\.0 is outside"):
        biq2021.read(tmp_path)


@pytest.mark.data
def test_biq2021_real(data_dir):
    rows = biq2021.read(data_dir / "biq2021")
    assert len(rows) == 3242
    assert Counter(row.split for row in rows) == {"train": 2451, "val": 267, "test": 524}
    assert all(row.image.is_file() for row in rows)
    with (data_dir / "biq2021" / "index.csv").open(newline="") as file:
        published = {line["image"]: float(line["mos"]) for line in csv.DictReader(file)}
    assert all(row.score == pytest.approx(1 + 4 * published[row.image.name]) for row in rows)


# ── KonIQ-10k ────────────────────────────────────────────────────────────────────────────────────

SETS = "image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,set\n"


def koniq_row(name: str, mos: float, part: str) -> str:
    return f"{name},0,0,0.3,0.7,0,105,{mos},0.53,{part}\n"


def test_koniq10k(tmp_path):
    (tmp_path / koniq10k.SETS).write_text(
        SETS
        + koniq_row("1.jpg", koniq10k.LOW, "training")
        + koniq_row("2.jpg", koniq10k.HIGH, "validation")
        + koniq_row("3.jpg", (koniq10k.LOW + koniq10k.HIGH) / 2, "test")
    )
    touch(*(tmp_path / "512x384" / name for name in ("1.JPG", "2.jpg", "3.jpg")))
    rows = koniq10k.read(tmp_path)
    assert [row.score for row in rows] == pytest.approx([1, 5, 3])
    assert [row.split for row in rows] == ["train", "val", "test"]
    assert [row.std for row in rows] == [0.53] * 3
    assert rows[0].image == tmp_path / "512x384" / "1.JPG"
    touch(*(tmp_path / "1024x768" / name for name in ("1.jpg", "2.jpg", "3.jpg")))
    assert koniq10k.read(tmp_path)[0].image.parent.name == "1024x768"
    assert koniq10k.read(tmp_path, resolution="512x384")[0].image.parent.name == "512x384"
    with pytest.raises(InputError, match="resolution"):
        koniq10k.read(tmp_path, resolution="4k")


def test_koniq10k_without_the_official_split(tmp_path):
    (tmp_path / koniq10k.SCORES).write_text(
        '"image_name","c1","c2","c3","c4","c5","c_total","MOS","SD","MOS_zscore"\n'
        '"1.jpg",0,0,25,73,7,105,3.828571,0.527278,77.38362\n'
    )
    touch(tmp_path / "1024x768" / "1.jpg")
    [row] = koniq10k.read(tmp_path)
    assert row.raw_score == 77.38362  # not the 1–5 mean: the two files must agree
    assert row.split == ""


def test_koniq10k_missing_pictures_and_files(tmp_path):
    with pytest.raises(InputError, match=koniq10k.SETS):
        koniq10k.read(tmp_path)
    (tmp_path / koniq10k.SETS).write_text(SETS + koniq_row("1.jpg", 50, "training"))
    with pytest.raises(InputError, match=r"1 of the 1 pictures .*1024x768: 1\.jpg"):
        koniq10k.read(tmp_path)
    assert koniq10k.read(tmp_path, labels_only=True)[0].split == "train"


@pytest.mark.data
def test_koniq10k_real(data_dir, tmp_path):
    rows = koniq10k.read(data_dir / "score_files", labels_only=True)
    assert len(rows) == 10_073
    assert Counter(row.split for row in rows) == {"train": 7058, "val": 1000, "test": 2015}
    scores = [row.score for row in rows if row.score is not None]
    assert (min(scores), max(scores)) == (1.0, 5.0)  # the definition holds the full extremes
    raw = [row.raw_score for row in rows if row.raw_score is not None]
    assert srcc(scores, raw) == pytest.approx(1.0)
    write_manifest(rows[::25], tmp_path / "koniq.parquet")
    assert read_manifest(tmp_path / "koniq.parquet") == rows[::25]


# ── pyiqa's meta_info ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("header", ["", "img_name,mos,std,split,c1\n"])
def test_meta_info_without_reference(tmp_path, header):
    path = tmp_path / "meta_info_Made.csv"
    path.write_text(header + "a.jpg,75,10,training,0\nb.jpg,25,5,test,0\n")
    touch(tmp_path / "a.jpg", tmp_path / "b.jpg")
    a, b = meta_info.read(path, score_range=(0, 100))
    assert (a.score, a.std, a.dataset) == (4, pytest.approx(0.4), "Made")
    assert (a.split, b.split) == (("train", "test") if header else ("", ""))
    assert (a.content, a.reference) == ("", "")


@pytest.mark.parametrize("header", ["", "ref_name,dist_name,dmos\n"])
def test_meta_info_with_reference(tmp_path, header):
    path = tmp_path / "meta_info_CSIQDataset.csv"
    path.write_text(
        header + "1600.png,1600.AWGN.1.png,0.25\n1600.png,1600.awgn.2.png,0.75\nBig.png,g.png,1\n"
    )
    touch(*(tmp_path / "dst" / n for n in ("1600.AWGN.1.png", "1600.AWGN.2.png", "g.png")))
    touch(tmp_path / "src" / "1600.png")
    rows = meta_info.read(
        path, score_range=(1, 0), images=tmp_path / "dst", references=tmp_path / "src"
    )
    assert [row.score for row in rows] == [4, 2, 1]  # DMOS: lower is better
    assert [row.content for row in rows] == ["1600", "1600", "big"]
    assert rows[1].image == tmp_path / "dst" / "1600.AWGN.2.png"
    assert [row.reference for row in rows] == [str(tmp_path / "src" / "1600.png")] * 2 + [""]


def test_meta_info_of_pictures_named_by_number(tmp_path):
    """The first cell is a name even when it looks like a number."""
    path = tmp_path / "meta_info_x.csv"
    path.write_text("1600,2.5\n")
    touch(tmp_path / "1600")
    assert meta_info.read(path, score_range=(1, 5))[0].image.name == "1600"


def test_meta_info_with_a_named_split_column(tmp_path):
    path = tmp_path / "meta_info_x.csv"
    path.write_text("name,mos,std,ratio802_seed123_split_01\na.png,3,0.1,val\n")
    touch(tmp_path / "a.png")
    column = "ratio802_seed123_split_01"
    assert meta_info.read(path, score_range=(1, 5), split=column)[0].split == "val"
    assert meta_info.read(path, score_range=(1, 5))[0].split == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "has no rows"),
        ("name,mos\n", "has no rows"),
        ("name,mos\na.png,good,bad\n", "row 2, column 2: 'good'"),
        ("name,mos\na.png,3\nb.png\n", "row 3: 1 cells"),
        ("name,mos\na.png,3\nb.png,x\n", "row 3, column 2: 'x' is not a number"),
        ("name,mos\na.png,3\na.png,nan\n", "row 3, column 2: 'nan' is not a number"),
        ("name,mos\na.png,9\n", "row 2, column 2: 9.0 is outside the score range 1 to 5"),
    ],
)
def test_meta_info_errors(tmp_path, text, expected):
    path = tmp_path / "meta_info_x.csv"
    path.write_text(text)
    with pytest.raises(InputError, match="meta_info_x") as error:
        meta_info.read(path, score_range=(1, 5), labels_only=True)
    assert expected in str(error.value)


# ── DeQA's JSON ──────────────────────────────────────────────────────────────────────────────────

ITEM = {"image": "k/a.JPG", "gt_score": 75.0, "gt_score_norm": 4.1, "std": 10, "std_norm": 0.4}


def deqa_file(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "test_koniq.json"
    path.write_text(json.dumps(content))
    touch(tmp_path / "k" / "a.jpg")
    return path


def test_deqa(tmp_path):
    path = deqa_file(tmp_path, [ITEM])
    [row] = deqa.read(path, split="test")
    assert (row.score, row.raw_score, row.std) == (pytest.approx(4.1), 75.0, 0.4)
    assert (row.dataset, row.split) == ("test_koniq", "test")
    assert row.image == tmp_path / "k" / "a.jpg"
    [row] = deqa.read(path, score_range=(0, 100))
    assert row.score == 4.0


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"a": 1}, "holds a JSON dict"),
        ([ITEM, {"gt_score": 1}], "row 2: expected"),
        ([ITEM, 7], "row 2: expected"),
        ([{"image": "k/a.jpg", "gt_score": 70}], "gt_score without gt_score_norm"),
        ([{**ITEM, "gt_score_norm": 5.2}], "row 1, gt_score_norm: 5.2 is outside"),
        ([{**ITEM, "gt_score_norm": "high"}], "row 1, gt_score_norm: 'high' is not a number"),
    ],
)
def test_deqa_errors(tmp_path, content, expected):
    with pytest.raises(InputError, match=r"test_koniq\.json") as error:
        deqa.read(deqa_file(tmp_path, content))
    assert expected in str(error.value)


def test_deqa_that_is_not_json(tmp_path):
    (tmp_path / "x.json").write_text("[1,")
    with pytest.raises(InputError, match="not a JSON file"):
        deqa.read(tmp_path / "x.json")
    with pytest.raises(InputError, match="cannot be read"):
        deqa.read(tmp_path / "missing.json")


# ── a folder ─────────────────────────────────────────────────────────────────────────────────────


def test_folder(tmp_path):
    touch(*(tmp_path / "photos" / name for name in ("10.jpg", "2.PNG", "in/3.webp", "notes.txt")))
    rows = folder.read(tmp_path / "photos")
    assert {row.image.name for row in rows} == {"2.PNG", "10.jpg", "3.webp"}
    assert {(row.score, row.dataset) for row in rows} == {(None, "photos")}
    flat = folder.read(tmp_path / "photos", recursive=False, dataset="mine")
    assert [(row.image.name, row.dataset) for row in flat] == [
        ("2.PNG", "mine"),
        ("10.jpg", "mine"),
    ]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        folder.read(tmp_path / "empty")
    with pytest.raises(InputError, match="no folder"):
        folder.read(tmp_path / "missing")


# ── real score files, by naming their columns ────────────────────────────────────────────────────


@pytest.mark.data
def test_agiqa3k_by_prompt(data_dir):
    """The extremes of a release stand in its definition, so a subset gives the same scores."""
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
    assert len({row.content for row in rows}) == 300
    assert rows[0].score == pytest.approx(1 + 0.8 * 0.965602553)


@pytest.mark.parametrize(
    ("reader", "item", "message"),
    [
        (dq495k.read, {"image_A": ["1.png"]}, r"row 1, 'image_A': \['1.png'\] is not a text"),
        (dq495k.read, {"image_ref": 0}, "row 1, 'image_ref': 0 is not a text"),
        (dq495k.read, {"distortion_class": ["Blur"]}, "'distortion_class': .* is not a text"),
        (comparisons.read, {"ImageA": 1}, "row 1, 'ImageA': 1 is not a text"),
        (comparisons.read, {"ref_image": {}}, "row 1, 'ref_image': {} is not a text"),
    ],
)
def test_json_cells_of_another_kind_are_named(reader, item, message, tmp_path):
    good = {"image_ref": "0.png", "image_A": "1.png", "distortion_class": "Blur", "severity": 2,
            "ref_image": "0.png", "ImageA": "1.png", "ImageB": "2.png", "result": "A"}  # fmt: skip
    (tmp_path / "list.json").write_text(json.dumps([good | item]))
    with pytest.raises(InputError, match=message):
        reader(tmp_path / "list.json", labels_only=True)


def test_the_std_of_deqa_is_of_the_score_that_is_taken(tmp_path):
    item = {"image": "0.png", "gt_score": 72.5, "gt_score_norm": 3, "std_norm": 0.4, "std": 7.0}
    (tmp_path / "m.json").write_text(json.dumps([item]))
    (row,) = deqa.read(tmp_path / "m.json", score_range=(0, 100), labels_only=True)
    assert (row.score, row.std) == (pytest.approx(3.9), pytest.approx(0.28))
    (row,) = deqa.read(tmp_path / "m.json", labels_only=True)
    assert (row.score, row.std) == (3.0, 0.4)


def test_names_in_other_spellings_are_found_and_repeated_ones_refused(tmp_path):
    for name in ("\u00e4 b.png", "trail.png ", " lead.png", "1.png"):
        (tmp_path / name).write_bytes(b"")
    table = tmp_path / "t.csv"
    table.write_text('image\n"a\u0308 b.png"\n"trail.png "\n" lead.png"\n" 1.png"\n', "utf-8")
    found = [row.image.name for row in csv_columns.read(table)]
    assert found == ["\u00e4 b.png", "trail.png ", " lead.png", "1.png"]
    table.write_text("image\n1.png\n./1.png\n")
    with pytest.raises(InputError, match=r"t\.csv, row 3, .*already in .*t\.csv, row 2"):
        csv_columns.read(table)


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_csv_with_other_marks_is_told_apart(mark, tmp_path):
    (tmp_path / "t.csv").write_text(f"\ufeffimage{mark}mos\n0.png{mark}3,5\n", "utf-8")
    with pytest.raises(InputError, match="separates its cells with"):
        csv_columns.read(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,width,height,mos\n0.png,320,240,3\n", "image, width, height, mos.*data import csv"),
        ("image,brightness\n0.png,3\n", "expected the score"),
        ("img_name,mos,std,split\n0.png,3,0.1,0\n", "row 2.*'0' is not a split.*without --split"),
    ],
)
def test_a_meta_info_whose_columns_cannot_be_told_is_refused(text, message, tmp_path):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        meta_info.read(tmp_path / "m.csv", score_range=(1, 5), labels_only=True)


SPLIT_012 = "img_name,mos,std,split,ratio\n0.png,3,0.1,0,0.5\n1.png,4,0.2,2,0.5\n2.png,4,0.2,,0\n"


def test_a_column_of_numbers_is_mapped_to_splits(tmp_path):
    (tmp_path / "m.csv").write_text(SPLIT_012)
    names = split_names(["0=train", "1 = val", "2=testing"], "--split-name")
    rows = meta_info.read(
        tmp_path / "m.csv", score_range=(1, 5), split_names=names, labels_only=True
    )
    assert [row.split for row in rows] == ["train", "test", ""]
    rows = csv_columns.read(
        tmp_path / "m.csv", image="img_name", split="split", split_names=names, labels_only=True
    )
    assert [row.split for row in rows] == ["train", "test", ""]
    with pytest.raises(InputError, match=r"row 3.*'2' is not a split.*--split-name 2=train"):
        meta_info.read(
            tmp_path / "m.csv", score_range=(1, 5), split_names={"0": "train"}, labels_only=True
        )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["0"], "'0' is not a name and its split"),
        (["=train"], "is not a name and its split"),
        (["0=2"], "'2' is not a split"),
        (["0=train", " 0=test"], "given two splits"),
    ],
)
def test_what_a_split_is_called_must_be_clear(given, message):
    with pytest.raises(InputError, match=f"--split-name: .*{message}"):
        split_names(given, "--split-name")


def test_a_std_that_the_range_does_not_rescale_is_told(tmp_path):
    items = [
        {"image": "0.png", "gt_score": 72.5, "gt_score_norm": 3, "std_norm": 0.4},
        {"image": "1.png", "gt_score": 72.5, "gt_score_norm": 3, "std_norm": 0.4, "std": 7.0},
        {"image": "2.png", "gt_score": 72.5, "gt_score_norm": 3},
    ]
    (tmp_path / "m.json").write_text(json.dumps(items))
    with pytest.warns(UserWarning, match=r"m\.json: 1 pictures have std_norm"):
        rows = deqa.read(tmp_path / "m.json", score_range=(0, 100), labels_only=True)
    assert [row.std for row in rows] == [None, pytest.approx(0.28), None]


def test_pictures_behind_a_link_are_found_whatever_their_case(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "release").mkdir()
    touch(tmp_path / "real" / "A.PNG")
    (tmp_path / "release" / "photos").symlink_to(tmp_path / "real")
    (tmp_path / "release" / "t.csv").write_text("image\nphotos/a.png\n")
    (row,) = csv_columns.read(tmp_path / "release" / "t.csv")
    assert row.image == tmp_path / "release" / "photos" / "A.PNG"
