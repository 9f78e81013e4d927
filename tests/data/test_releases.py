"""Releases of data sets: each in its original layout, built small, and the real score files."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import Workbook
from scipy.io import savemat
from typer.testing import CliRunner

from rali.cli.data import app
from rali.data.importers import (
    RELEASES,
    agiqa3k,
    bid,
    biq2021,
    comparisons,
    csiq,
    dq495k,
    kadid10k,
    kadis,
    koniq10k,
    lists,
    livec,
    pipal,
    spaq,
    sriqa_bench,
    tid2013,
)
from rali.data.manifest import Row, read_pairs
from rali.data.splits import assign_splits
from rali.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.* lists .* pictures;:UserWarning")


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture")


def xlsx(path: Path, title: str, rows: list[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    book = Workbook()
    page = book.active
    assert page is not None
    page.title = title
    for row in rows:
        page.append(row)
    book.save(path)


# ── small releases ───────────────────────────────────────────────────────────────────────────────


def make_kadid10k(root: Path) -> list[Row]:
    lines = ["dist_img,ref_img,dmos,var"]
    for reference in ("I01", "I02", "I03"):
        for level in (1, 3, 5):
            lines.append(f"{reference}_10_0{level}.png,{reference}.png,{5 - 0.8 * level},0.5")
            touch(root / "images" / f"{reference}_10_0{level}.png")
        touch(root / "images" / f"{reference}.png")
    (root / "dmos.csv").write_text("\n".join(lines))
    return kadid10k.read(root)


def make_spaq(root: Path) -> list[Row]:
    names = [f"0000{i}.jpg" for i in range(1, 6)]
    touch(*(root / "TestImage" / name for name in names))
    xlsx(
        root / "Annotations" / spaq.SCORES,
        "Sheet1",
        [
            ["Image name", "MOS", "Brightness"],
            *([name, 2 + 20 * i, 50] for i, name in enumerate(names)),
        ],
    )
    return spaq.read(root)


def make_csiq(root: Path) -> list[Row]:
    rows: list[list[object]] = [
        [],
        [],
        [],
        [None, None, None, *csiq.COLUMNS[:1], "dst_idx", *csiq.COLUMNS[1:]],
    ]
    for name in (1600, "boston", "turtle"):
        for kind, cased in (("noise", "AWGN"), ("jpeg 2000", "jpeg2000"), ("blur", "BLUR")):
            for level in (1, 2):
                rows.append([None, None, None, name, 1, kind, level, 0.05, 0.3 * level])
                folder = root / "dst_imgs" / csiq.TYPES[kind]
                touch(folder / f"{name}.{cased}.{level}.png")
        touch(root / "src_imgs" / f"{name}.png")
    xlsx(root / "csiq.DMOS.xlsx", "all_by_image", rows)
    return csiq.read(root)


def make_tid2013(root: Path) -> list[Row]:
    lines = []
    for reference in ("01", "02", "25"):
        for level in (1, 5):
            lines.append(f"{7 - level} I{reference}_08_{level}.bmp")
            touch(root / "distorted_images" / f"i{reference}_08_{level}.bmp")
        touch(root / "reference_images" / f"I{reference}.BMP")
    (root / "mos_with_names.txt").write_text("\n".join(lines))
    (root / "mos_std.txt").write_text("\n".join(["0.1"] * len(lines)))
    return tid2013.read(root)


def make_livec(root: Path) -> list[Row]:
    names = [f"t{i}.bmp" for i in range(1, 8)] + ["3.bmp", "4.bmp", "5.JPG"]
    touch(*(root / "Images" / "trainingImages" / name for name in names[:7]))
    touch(*(root / "Images" / name for name in names[7:]))
    cells = np.empty((len(names), 1), dtype=object)
    cells[:, 0] = names
    (root / "Data").mkdir()
    for name, value in (
        ("AllImages_release", cells),
        ("AllMOS_release", np.linspace(10, 90, len(names))[None]),
        ("AllStdDev_release", np.full((1, len(names)), 18.0)),
    ):
        savemat(root / "Data" / f"{name}.mat", {name: value})
    return livec.read(root)


def make_agiqa3k(root: Path) -> list[Row]:
    lines = ["name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align"]
    for model in ("AttnGAN", "glide", "DALLE2"):
        for place, prompt in enumerate(("a tray of sushi", "statue of a man")):
            lines.append(f"{model}_normal_00{place}.jpg,{prompt},,,,{place + 1},0.2,1,0.1")
            touch(root / f"{model}_normal_00{place}.jpg")
    (root / "data.csv").write_text("\r\n".join(lines))
    return agiqa3k.read(root)


def make_pipal(root: Path) -> list[Row]:
    (root / "Train_Label").mkdir()
    for reference, shift in (("A0001", 0.0), ("A0002", 100.0)):
        names = [f"{reference}_00_00.bmp", f"{reference}_01_03.bmp"]
        scores = (900 + shift, 1700 + shift)
        text = "".join(f"{n},{s}\n" for n, s in zip(names, scores, strict=True))
        (root / "Train_Label" / f"{reference}.txt").write_text(text)
        touch(root / "Distortion_1" / names[0], root / "Distortion_2" / names[1])
        touch(root / "Train_Ref" / f"{reference}.bmp")
    return pipal.read(root)


def make_liu13(root: Path) -> list[Row]:
    text = "".join(f"blur{i // 2}.png sharp{i}.png {i - 2.5}\n" for i in range(6))
    (root / "Liu13.txt").write_text(text)
    touch(*(root / f"sharp{i}.png" for i in range(6)), *(root / f"blur{i}.png" for i in range(3)))
    return lists.read_liu13(root)


def make_sriqa_bench(root: Path) -> list[Row]:
    (root / "MOS").mkdir()
    for content in ("x1", "x2"):
        names = {"SwinIR": f"{content}_SwinIRx4.png", "Original": f"{content}_Original.png"}
        text = f"{names['Original']},100.0\n{names['SwinIR']},0.0\n"
        (root / "MOS" / f"{content}.txt").write_text(text)
        touch(*(root / "images" / method / name for method, name in names.items()))
    return sriqa_bench.read(root)


def make_dq495k(root: Path) -> list[Row]:
    items = []
    for place in range(3):
        names = {"image_ref": f"ref/{place}.png", "image_A": f"jpeg/{place}.png"}
        touch(*(root / name for name in names.values()))
        items.append(
            names
            | {"distortion_class": "compression", "distortion_name": "jpeg", "severity": "obvious"}
        )
    (root / "dq495k.json").write_text(json.dumps(items))
    return dq495k.read(root)


def make_kadis(root: Path) -> list[Row]:
    for reference in ("lake_1", "dog"):
        touch(root / "ref_imgs" / f"{reference}.png")
        touch(root / "dist_imgs" / f"{reference}_01_02.bmp")
    return kadis.read(root)


def make_bid(root: Path) -> list[Row]:
    """Its .xls cannot be written here: the sheet is put in its place, the pictures are there."""
    rows: list[tuple[object, ...]] = [(*bid.HEADER, "Grade #1", "Grade #2")]
    for place in (1, 3, 4):
        rows.append((float(place), 0.5 + place, 2.0, float(place), 1.0 + place))
        touch(root / f"DatabaseImage{place:04d}.JPG")
    (root / "DatabaseGrades.xls").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bid, "sheet", lambda path: rows)
        return bid.read(root)


def make_biq2021(root: Path) -> list[Row]:
    lines = ["image,mos,split,subset,scene"]
    for scene, part in (("s1", "train"), ("s2", "val"), ("s3", "test")):
        for version in ("a", "b"):
            lines.append(f"{scene}{version}.jpg,0.5,{part},ss01,{scene}")
            touch(root / "images" / f"{scene}{version}.jpg")
    (root / "index.csv").write_text("\n".join(lines))
    return biq2021.read(root)


def make_koniq10k(root: Path) -> list[Row]:
    lines = ["image_name,c1,MOS,SD,set"]
    for name, part in (("1", "training"), ("2", "validation"), ("3", "test")):
        lines.append(f"{name}.jpg,0,50,0.5,{part}")
        touch(root / "512x384" / f"{name}.jpg")
    (root / koniq10k.SETS).write_text("\n".join(lines))
    return koniq10k.read(root)


# PIPAL's and Liu13's extremes come from the list, so a short one is refused; their own tests below.
SMALL: dict[str, Callable[[Path], list[Row]]] = {
    "kadid10k": make_kadid10k, "spaq": make_spaq, "csiq": make_csiq, "tid2013": make_tid2013,
    "livec": make_livec, "agiqa3k": make_agiqa3k, "sriqa-bench": make_sriqa_bench,
    "dq495k": make_dq495k, "kadis700k": make_kadis, "koniq10k": make_koniq10k, "bid": make_bid,
    "biq2021": make_biq2021,
}  # fmt: skip
WHOLE = {"pipal": (make_pipal, 4), "liu13": (make_liu13, 6)}
# KADIS-700k's list is the folder itself, and BID's is a file that cannot be made here.
LISTED = [name for name in SMALL if name not in ("kadis700k", "bid")]


@pytest.mark.parametrize("name", SMALL)
def test_every_picture_is_found_and_named_after_its_release(name, tmp_path):
    rows = SMALL[name](tmp_path)
    assert rows
    assert {row.dataset for row in rows} == {name}
    assert all(row.image.is_file() for row in rows)
    assert all(Path(row.reference).is_file() for row in rows if row.reference)
    assert all(row.score is None or 1 <= row.score <= 5 for row in rows)


@pytest.mark.parametrize("name", LISTED)
def test_a_missing_picture_is_one_sentence_and_labels_alone_can_be_read(name, tmp_path):
    rows = SMALL[name](tmp_path)
    rows[0].image.unlink()
    with pytest.raises(InputError, match=rf"(?i)1 of the \d+ pictures .*{rows[0].image.name}"):
        RELEASES[name].read(tmp_path)
    again = RELEASES[name].read(tmp_path, labels_only=True)
    assert [row.score for row in again] == [row.score for row in rows]


# What a picture shows, by its file's name and not by what the importer says.
SCENES: dict[str, Callable[[Row], str]] = {
    "kadid10k": lambda row: row.image.name[:3].lower(),
    "csiq": lambda row: row.image.name.split(".")[0].lower(),
    "tid2013": lambda row: row.image.name[:3].lower(),
    "agiqa3k": lambda row: row.image.stem[-3:],  # the prompt's place
    "sriqa-bench": lambda row: row.image.name[:2],
    "kadis700k": lambda row: row.image.name.rsplit("_", 2)[0],
    "biq2021": lambda row: row.image.name[:2],
    "pipal": lambda row: row.image.name[:5],
    "liu13": lambda row: str(int(row.image.stem.removeprefix("sharp")) // 2),
}


@pytest.mark.parametrize("name", [*SMALL, *WHOLE])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), share=st.floats(0.2, 0.8))
def test_no_content_is_in_two_splits(name, seed, share, tmp_path_factory):
    folder = tmp_path_factory.mktemp(name)
    with pytest.MonkeyPatch.context() as patch:
        if name in WHOLE:  # made as long as its release says it is
            make, count = WHOLE[name]
            patch.setattr(pipal, "RELEASE", dataclasses.replace(pipal.RELEASE, pictures=count))
            patch.setattr(lists, "LIU13", dataclasses.replace(lists.LIU13, pictures=count))
        else:
            make = SMALL[name]
        rows = make(folder)
    scene = SCENES.get(name, lambda row: row.image.name)
    for split in (rows, assign_splits(rows, (share, 1 - share), seed)):  # its own, and a new one
        parts: dict[str, set[str]] = {}
        for row in split:
            parts.setdefault(scene(row), set()).add(row.split)
        assert all(len(splits) == 1 for splits in parts.values())
        assert len(parts) > 1


def test_kadid10k_is_higher_is_better_whatever_its_column_says(tmp_path):
    rows = make_kadid10k(tmp_path)
    assert rows[0].score == pytest.approx(4.2)
    assert (rows[0].content, rows[0].distortion, rows[0].severity) == ("i01", "jpeg", 1)
    assert rows[0].std == 0.5


def test_scores_the_wrong_way_round_are_refused(tmp_path):
    make_kadid10k(tmp_path)
    table = tmp_path / "dmos.csv"
    turned = [line.split(",") for line in table.read_text().splitlines()[1:]]
    for cells in turned:
        cells[2] = str(6 - float(cells[2]))
    table.write_text("\n".join(["dist_img,ref_img,dmos,var", *(",".join(c) for c in turned)]))
    with pytest.raises(InputError, match=r"dmos\.csv: scores rise with the strength"):
        kadid10k.read(tmp_path)


def test_csiq_flips_and_finds_names_of_either_case(tmp_path):
    rows = make_csiq(tmp_path)
    assert rows[0].score == pytest.approx(5 - 4 * 0.3)
    assert rows[0].image.name == "1600.AWGN.1.png"  # the reference called by a number
    assert rows[0].content == "1600"
    assert Path(rows[0].reference).name == "1600.png"


def test_tid2013_finds_lower_case_names_on_disk(tmp_path):
    row = make_tid2013(tmp_path)[0]
    assert row.image.name == "i01_08_1.bmp"
    assert Path(row.reference).name == "I01.BMP"
    assert row.score == pytest.approx(1 + 4 * (6 - 0.24242) / (7.21429 - 0.24242))


def test_livec_leaves_out_the_seven_training_pictures(tmp_path):
    rows = make_livec(tmp_path)
    assert [row.image.name for row in rows] == ["3.bmp", "4.bmp", "5.JPG"]


def test_pipal_needs_the_whole_list(tmp_path):
    with pytest.raises(InputError, match=r"4 scores of PIPAL's 23,200"):
        make_pipal(tmp_path)


def test_pipal_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(pipal, "RELEASE", dataclasses.replace(pipal.RELEASE, pictures=4))
    rows = make_pipal(tmp_path)
    assert [row.score for row in rows] == pytest.approx([1, 1 + 4 * 8 / 9, 1 + 4 / 9, 5])
    assert [row.image.parent.name for row in rows[:2]] == ["Distortion_1", "Distortion_2"]


def test_liu13_needs_the_whole_list(tmp_path):
    with pytest.raises(InputError, match=r"6 scores of Liu13's 1,200"):
        make_liu13(tmp_path)


def test_pictures_that_the_list_does_not_name_are_mentioned(tmp_path):
    make_spaq(tmp_path)
    touch(tmp_path / "TestImage" / "copy.jpg")
    with pytest.warns(UserWarning, match=r"1 pictures that .* does not list: copy\.jpg"):
        spaq.read(tmp_path)


def test_a_list_of_another_length_is_mentioned(tmp_path):
    with pytest.warns(UserWarning, match=r"lists 5 pictures; SPAQ has 11,125"):
        make_spaq(tmp_path)


def test_sriqa_bench_knows_methods_and_contents(tmp_path):
    rows = make_sriqa_bench(tmp_path)
    assert [(r.content, r.distortion, r.score) for r in rows[:2]] == [
        ("x1", "Original", 5.0), ("x1", "SwinIR", 1.0),
    ]  # fmt: skip


def test_names_of_another_form_are_refused(tmp_path):
    (tmp_path / "dmos.csv").write_text("dist_img,ref_img,dmos,var\nfirst.png,I01.png,3,1\n")
    with pytest.raises(InputError, match=r"row 2.*'first\.png' is not named like I01_02_03\.png"):
        kadid10k.read(tmp_path)
    touch(tmp_path / "dist_imgs" / "first.png")
    with pytest.raises(InputError, match=r"'first\.png' is not named like"):
        kadis.read(tmp_path)


@pytest.mark.parametrize("name", RELEASES)
def test_an_empty_folder_is_refused_with_its_path(name, tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        RELEASES[name].read(tmp_path)


def test_a_file_that_is_not_a_spreadsheet_is_refused(tmp_path):
    path = tmp_path / spaq.SCORES
    path.write_bytes(b"no spreadsheet")
    with pytest.raises(InputError, match="cannot be read as a spreadsheet"):
        spaq.read(tmp_path)


def test_every_release_has_a_command_and_is_listed():
    runner = CliRunner()
    offered = runner.invoke(app, ["import", "--help"]).output
    listed = runner.invoke(app, ["list"]).output
    for name, release in RELEASES.items():
        assert name in offered
        assert f"{name}\n" in listed
        for fact in (f"{release.pictures:,}", release.layout, release.home):
            assert fact in listed
        command = runner.invoke(app, ["import", name, "--help"]).output
        assert release.title in command
        assert f"Example: rali data import {name}" in command


def test_import_by_command(tmp_path):
    make_spaq(tmp_path)
    result = CliRunner().invoke(
        app, ["import", "spaq", str(tmp_path), "-o", str(tmp_path / "spaq.csv")]
    )
    assert result.exit_code == 0, result.output
    assert "5 rows" in result.output


# ── the real score files ─────────────────────────────────────────────────────────────────────────


@pytest.mark.data
@pytest.mark.parametrize(
    ("read", "file", "count", "contents", "splits"),
    [
        (koniq10k.read, "", 10_073, 1, {"train": 7058, "val": 1000, "test": 2015}),
        (agiqa3k.read, "agiqa3k_data.csv", 2_982, 300, {"": 2982}),
        (csiq.read, "", 866, 30, {"": 866}),
        (bid.read, "bid_DatabaseGrades.xls", 586, 1, {"": 586}),
        (spaq.read, "", 11_125, 1, {"": 11_125}),
        (kadid10k.read, "", 8_125, 65, {"train": 6125, "test": 2000}),
    ],
)  # fmt: skip
def test_real_score_files(data_dir, read, file, count, contents, splits):
    rows = read(data_dir / "score_files" / file, labels_only=True)
    assert len(rows) == count
    assert len({row.content for row in rows}) == contents
    assert Counter(row.split for row in rows) == splits
    scores = [row.score for row in rows]
    assert (min(scores), max(scores)) == (1.0, 5.0)  # the definition holds the full extremes


@pytest.mark.data
def test_real_comparisons(data_dir, tmp_path):
    file = data_dir / "score_files" / "qinsight_train_comparison.json"
    pairs = comparisons.read(file, labels_only=True)
    assert Counter(pair.result for pair in pairs) == {"A": 2009, "B": 1991, "similar": 1000}
    result = CliRunner().invoke(
        app,
        ["import", "q-insight-comparisons", str(file), "--labels-only",
         "-o", str(tmp_path / "pairs.csv")],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert len(read_pairs(tmp_path / "pairs.csv")) == 5000


def test_lists_of_kadid10k_are_found_whatever_their_case_and_both_are_named(tmp_path):
    for name, place in (
        ("kadid-10k_Train_set.txt", 1),
        ("KADID-10K_test_set.txt", 2),
        ("KADID-10K_val_set.txt", 3),
    ):
        picture = f"I0{place}_10_01.png"
        (tmp_path / name).write_text(f"I0{place}.png {picture} 4.2 0.5\n")
        touch(tmp_path / "images" / picture)
    with pytest.warns(UserWarning, match=rf"{tmp_path.name} lists 3 pictures"):
        rows = kadid10k.read(tmp_path)
    assert sorted(row.split for row in rows) == ["test", "train", "val"]


def test_spaq_may_be_given_as_its_score_file(tmp_path):
    make_spaq(tmp_path)
    rows = spaq.read(tmp_path / "Annotations" / spaq.SCORES)
    assert all(row.image.parent.name == "TestImage" for row in rows)


def test_levels_that_run_both_ways_are_not_severities(tmp_path):
    touch(tmp_path / "dist_imgs" / "dog_18_02.bmp", tmp_path / "dist_imgs" / "dog_01_02.bmp")
    severities = {row.distortion: row.severity for row in kadis.read(tmp_path)}
    assert severities == {"mean shift": None, "gaussian blur": 2}


def test_broken_files_and_cells_are_sentences(tmp_path, monkeypatch):
    make_livec(tmp_path / "livec")
    (tmp_path / "livec" / "Data" / "AllMOS_release.mat").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read as MATLAB's"):
        livec.read(tmp_path / "livec")
    xlsx(tmp_path / "Annotations" / spaq.SCORES, "Sheet1", [])
    with pytest.raises(InputError, match="empty sheet"):
        spaq.read(tmp_path)
    (tmp_path / "DatabaseGrades.xls").touch()
    monkeypatch.setattr(bid, "sheet", lambda path: [bid.HEADER, (1.0, 2.0, 1.0, "good")])
    with pytest.raises(InputError, match="good"):
        bid.read(tmp_path)


def test_dq495k_knows_pictures_without_a_degradation(tmp_path):
    make_dq495k(tmp_path)
    items = json.loads((tmp_path / "dq495k.json").read_text())
    items[0] |= {"distortion_class": "null", "severity": "null"}
    items[1] |= {"distortion_class": "", "severity": None}
    (tmp_path / "dq495k.json").write_text(json.dumps(items))
    found = [(row.distortion, row.severity) for row in dq495k.read(tmp_path)]
    assert found == [("null", 0), ("null", None), ("compression", 3)]


def test_dq495k_reads_q_insights_list_of_single_pictures(tmp_path):
    make_dq495k(tmp_path)
    file = tmp_path / "train.json"
    items = [{"image": "jpeg/1.png", "distortion_class": "compression", "severity": "slight"}]
    file.write_text(json.dumps(items))
    with pytest.warns(UserWarning, match="lists 1 picture"):
        (row,) = dq495k.read(file)
    assert (row.image.name, row.distortion, row.severity) == ("1.png", "compression", 1)
    file.write_text(json.dumps([{"distortion_class": "compression", "severity": "slight"}]))
    with pytest.raises(InputError, match="image_A \\(or image\\)"):
        dq495k.read(file)
