"""Manifests, pairs and splits: what is written comes back, what is wrong is named by its cell."""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from rali.data.manifest import (
    PairRow,
    Row,
    read_manifest,
    read_pairs,
    select,
    write_manifest,
    write_pairs,
)
from rali.data.splits import assign_splits, partition
from rali.errors import InputError

FORMATS = [".csv", ".parquet"]


def full_rows(folder: Path) -> list[Row]:
    return [
        Row(
            image=folder / "pictures" / 'a, "b" ü 写真.jpg',
            score=3.25,
            raw_score=-56.25,
            dataset="made",
            content="scene, 1",
            split="train",
            std=0.1 + 0.2,
            reference=str(folder / "pictures" / "reference.png"),
            distortion="contrast weaken",
            severity=3,
        ),
        Row(image=folder.parent / "outside.png"),
        Row(image=Path("/elsewhere/absolute.png"), score=1.0, severity=0),
        Row(image=folder / "007", score=5, dataset="007", content="1.50", split="test"),
    ]


@pytest.mark.parametrize("suffix", FORMATS)
def test_round_trip_keeps_every_field(tmp_path, suffix):
    rows = full_rows(tmp_path)
    write_manifest(rows, tmp_path / f"manifest{suffix}")
    assert read_manifest(tmp_path / f"manifest{suffix}") == rows


@pytest.mark.parametrize("suffix", FORMATS)
def test_pairs_round_trip(tmp_path, suffix):
    pairs = [
        PairRow(tmp_path / "a.png", tmp_path / "b.png", "A", split="val", content="x"),
        PairRow(tmp_path / "a.png", tmp_path / "c.png", "similar", str(tmp_path / "r.png"), "set"),
    ]
    write_pairs(pairs, tmp_path / f"pairs{suffix}")
    assert read_pairs(tmp_path / f"pairs{suffix}") == pairs


def test_a_folder_can_move_with_its_manifest(tmp_path):
    old = tmp_path / "old"
    write_manifest([Row(old / "x.jpg", reference=str(old / "r.jpg"))], old / "manifest.csv")
    old.rename(tmp_path / "new")
    [row] = read_manifest(tmp_path / "new" / "manifest.csv")
    assert row.image == tmp_path / "new" / "x.jpg"
    assert row.reference == str(tmp_path / "new" / "r.jpg")


def test_relative_paths_do_not_depend_on_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "manifest.csv").write_text("image\nsub/../x.jpg\n")
    monkeypatch.chdir(tmp_path)
    [row] = read_manifest("set/manifest.csv")
    assert row.image == tmp_path / "set" / "x.jpg"


def read(tmp_path: Path, text: str | bytes) -> list[Row]:
    path = tmp_path / "manifest.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_manifest(path)


def refusal(tmp_path: Path, text: str | bytes) -> str:
    with pytest.raises(InputError) as error:
        read(tmp_path, text)
    assert "manifest.csv" in str(error.value)
    return str(error.value)


def test_what_spreadsheets_write_is_read(tmp_path):
    text = b"\xef\xbb\xbfimage, score ,notes\r\n\r\na.jpg, 2.5 ,mine\r\nb.jpg\r\n"
    rows = read(tmp_path, text)
    assert [(row.image.name, row.score) for row in rows] == [("a.jpg", 2.5), ("b.jpg", None)]


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("score", "good", "number from 1 to 5"),
        ("score", "nan", "number from 1 to 5"),
        ("score", "inf", "number from 1 to 5"),
        ("score", "0.99", "number from 1 to 5"),
        ("score", "5.01", "number from 1 to 5"),
        ("score", "3,5", "number from 1 to 5"),
        ("raw_score", "-inf", "finite number"),
        ("std", "-0.1", "not below 0"),
        ("severity", "6", "whole number from 0 to 5"),
        ("severity", "-1", "whole number from 0 to 5"),
        ("severity", "2.5", "whole number from 0 to 5"),
        ("severity", "slight", "whole number from 0 to 5"),
        ("split", "validation", "train, val, test"),
        ("split", "Train", "train, val, test"),
    ],
)
def test_a_bad_cell_is_named(tmp_path, column, value, expected):
    message = refusal(tmp_path, f'image,{column}\na.jpg,\nb.jpg,"{value}"\n')
    assert f"row 3, column '{column}'" in message
    assert repr(value) in message
    assert expected in message


def test_rows_are_counted_as_a_spreadsheet_shows_them(tmp_path):
    # a blank line has a row number of its own, a line break inside a cell has not
    message = refusal(tmp_path, 'image,content,score\n\n"a.jpg","two\nlines",1\nb.jpg,,9\n')
    assert "row 4, column 'score'" in message


def test_empty_and_repeated_pictures_are_named(tmp_path):
    message = refusal(tmp_path, "image,score\na.jpg,1\n,2\nsub/../a.jpg,3\n")
    assert "row 3, column 'image': is empty" in message
    assert "row 4, column 'image'" in message
    assert "already in row 2" in message


def test_a_content_in_two_splits_names_both_rows(tmp_path):
    text = "image,dataset,content,split\na,x,lake,train\nb,y,lake,test\nc,x,lake,\nd,x,lake,val\n"
    message = refusal(tmp_path, text)
    assert "row 5, column 'split'" in message
    assert "'lake'" in message
    assert "row 2" in message
    assert message.count("row ") - message.count("header is row 1") == 2  # set y is another lake


def test_ten_problems_are_shown_and_the_rest_counted(tmp_path):
    message = refusal(tmp_path, "image,score\n" + "".join(f"{i}.jpg,bad\n" for i in range(25)))
    assert message.count("column 'score'") == 10
    assert "and 15 more" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no column 'image'"),
        ("path,score\na.jpg,1\n", "path, score"),
        ("image,score,score\na.jpg,1,2\n", "two columns named 'score'"),
        ("image,score\na.jpg,1,2\n", "row 2: 3 cells under 2 columns"),
        (b"image\n\xff\xfe.jpg\n", "UTF-8"),
        ('image,content\na.jpg,"5 inch\nb.jpg,x\n', "unexpected end of data"),
    ],
)
def test_files_that_are_not_a_manifest(tmp_path, text, expected):
    assert expected in refusal(tmp_path, text)


def test_paths_that_are_not_a_manifest(tmp_path):
    with pytest.raises(InputError, match="no manifest at"):
        read_manifest(tmp_path / "missing.csv")
    with pytest.raises(InputError, match=r"\.csv or \.parquet"):
        read_manifest(tmp_path / "manifest.xlsx")
    from pyarrow import array, parquet, table

    twice = table([array(["a.jpg"]), array(["b.jpg"])], ["image", "image"])
    parquet.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(InputError, match="two columns named 'image'"):
        read_manifest(tmp_path / "twice.parquet")
    (tmp_path / "fake.parquet").write_text("image\n")
    with pytest.raises(InputError, match="Parquet"):
        read_manifest(tmp_path / "fake.parquet")


def test_missing_pictures_are_reported_when_asked_for(tmp_path):
    (tmp_path / "here.jpg").write_bytes(b"x")
    path = tmp_path / "manifest.csv"
    path.write_text("image\nhere.jpg\ngone.jpg\n")
    assert len(read_manifest(path)) == 2
    with pytest.raises(InputError, match=r"row 3, column 'image': there is no file .*gone\.jpg"):
        read_manifest(path, check_files=True)


@pytest.mark.parametrize(
    "row",
    [
        Row(Path("x.jpg"), score=0.0),
        Row(Path("x.jpg"), score=float("nan")),
        Row(Path("x.jpg"), split="dev"),
        Row(Path("x.jpg"), severity=9),
        Row(Path()),
    ],
)
def test_an_invalid_row_is_never_written(tmp_path, row):
    path = tmp_path / "manifest.csv"
    path.write_text("image\nold.jpg\n")
    with pytest.raises(InputError):
        write_manifest([Row(Path("fine.jpg")), row], path)
    assert path.read_text() == "image\nold.jpg\n"
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.csv"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "manifest.csv"
    write_manifest([Row(tmp_path / "old.jpg")], path)
    before = path.read_bytes()

    def fail(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_manifest([Row(tmp_path / "new.jpg")], path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.csv"]


def test_the_columns_are_those_of_the_format(tmp_path):
    write_manifest([Row(tmp_path / "a.jpg", score=2.5)], tmp_path / "manifest.csv")
    header, line = (tmp_path / "manifest.csv").read_text().splitlines()
    assert header == (
        "image,score,raw_score,dataset,content,split,std,reference,distortion,severity"
    )
    assert line == "a.jpg,2.5,,,,,,,,"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image_a,image_b\na,b\n", "no column 'result'"),
        ("image_a,image_b,result\na,b,C\n", "row 2, column 'result'"),
        ("image_a,image_b,result\na,,A\n", "row 2, column 'image_b'"),
        ("image_a,image_b,result,split\na,b,A,dev\n", "row 2, column 'split'"),
        ("image_a,image_b,result,content,split\na,b,A,x,train\nc,d,B,x,test\n", "in row 2"),
    ],
)
def test_bad_pairs_are_named(tmp_path, text, expected):
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=expected):
        read_pairs(path)


def test_select(tmp_path):
    rows = [Row(tmp_path / f"{i}", split=split) for i, split in enumerate(["train", "", "test"])]
    assert select(rows, "train") == rows[:1]
    assert select(rows, "") == rows[1:2]
    assert select(rows, None) == rows
    with pytest.raises(InputError, match="dev"):
        select(rows, "dev")


# ── splits ───────────────────────────────────────────────────────────────────────────────────────


def scenes(count: int, dataset: str = "set", seed: int = 0) -> list[Row]:
    rng = random.Random(seed)
    return [
        Row(Path(f"/data/{dataset}/{scene}-{i}.jpg"), dataset=dataset, content=f"scene {scene}")
        for scene in range(count)
        for i in range(rng.choice([1, 1, 1, 2, 3, 8]))
    ]


def splits_by_image(rows: list[Row]) -> dict[Path, str]:
    return {row.image: row.split for row in rows}


def test_no_content_straddles_and_sizes_are_near(tmp_path):
    rows = assign_splits(scenes(200) + scenes(30, "other", 1), (6, 2, 2))
    write_manifest(rows, tmp_path / "manifest.csv")  # refuses a content in two splits
    for dataset in ("set", "other"):
        sizes = Counter(row.split for row in rows if row.dataset == dataset)
        total = sum(sizes.values())
        for split, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
            assert abs(sizes[split] - share * total) <= 1


def test_large_scenes_are_not_all_put_into_train():
    rows = assign_splits(scenes(600, seed=3), (6, 2, 2))
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        sizes[row.split][row.content] += 1
    means = [sum(counts.values()) / len(counts) for counts in sizes.values()]
    assert max(means) < 1.25 * min(means)


def test_order_place_and_split_column_do_not_matter():
    rows = scenes(60)
    expected = splits_by_image(assign_splits(rows, seed=5))
    shuffled = [replace(row, split="val") for row in rows]
    random.Random(1).shuffle(shuffled)
    again = assign_splits(shuffled, seed=5)
    assert splits_by_image(again) == expected
    assert [row.image for row in again] == [row.image for row in shuffled]
    moved = [replace(row, image=Path("/mnt/x") / row.image.relative_to("/data")) for row in rows]
    result = assign_splits(moved, seed=5)
    assert [row.split for row in result] == [expected[row.image] for row in rows]


def test_another_data_set_does_not_change_the_first():
    alone = splits_by_image(assign_splits(scenes(40)))
    both = splits_by_image(assign_splits(scenes(40) + scenes(40, "other")))
    assert both.items() >= alone.items()


def test_the_assignment_is_pinned():
    """Written down once: a change of Python, machine or code that moves pictures is a break."""
    rows = [Row(Path(f"/p/{i}.jpg"), dataset="pin", content=f"c{i}") for i in range(10)]
    letters = "".join(row.split[1] for row in assign_splits(rows, (6, 2, 2), seed=0))
    assert letters == "errrerraar"
    assert Counter(letters) == {"r": 6, "a": 2, "e": 2}


def test_seeds_differ():
    rows = scenes(60)
    assert splits_by_image(assign_splits(rows, seed=0)) != splits_by_image(
        assign_splits(rows, seed=1)
    )


def test_rows_without_content_are_their_own_wherever_the_folder_lies():
    names = [f"{i % 3}/{i}.jpg" for i in range(50)]
    here = assign_splits([Row(Path("/a/b") / name) for name in names])
    there = assign_splits([Row(Path("/c") / name) for name in names])
    assert [row.split for row in here] == [row.split for row in there]
    assert Counter(row.split for row in here) == {"train": 30, "val": 10, "test": 10}


def test_two_fractions_are_train_and_test():
    sizes = Counter(row.split for row in assign_splits(scenes(100), (8, 2)))
    assert set(sizes) == {"train", "test"}
    assert abs(sizes["test"] / sum(sizes.values()) - 0.2) < 0.01


def test_few_contents_still_fill_every_split():
    rows = [Row(Path(f"/{i}-{j}"), content=str(i)) for i in range(3) for j in range(10 ** (2 - i))]
    assert {row.split for row in assign_splits(rows, (8, 1, 1))} == {"train", "val", "test"}
    assert {row.split for row in assign_splits(rows[:1])} == {"train"}
    assert assign_splits([]) == []


def test_a_fraction_of_zero_stays_empty():
    assert {row.split for row in assign_splits(scenes(50), (8, 0, 2))} == {"train", "test"}


@pytest.mark.parametrize("fractions", [(), (1,), (1, 1, 1, 1), (-1, 2), (0, 0), (float("nan"), 1)])
def test_bad_fractions(fractions):
    with pytest.raises(InputError, match="train:val:test"):
        assign_splits(scenes(3), fractions)


def test_partition_moves_groups_to_meet_the_targets():
    sizes = [7, 7, 3, 3]  # cut in the middle: 14 and 6; a swap makes it 10 and 10
    parts = partition(sizes, [0.5, 0.5])
    first = sum(size for size, part in zip(sizes, parts, strict=True) if part == 0)
    assert first == 10


@pytest.mark.data
def test_biq2021_splits_like_the_real_thing(data_dir):
    from rali.data.importers import biq2021

    rows = assign_splits(biq2021.read(data_dir / "biq2021"), (6, 2, 2))
    sizes = Counter(row.split for row in rows)
    for split, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        assert abs(sizes[split] - share * 3242) < 1
    owners = defaultdict(set)
    for row in rows:
        owners[row.content].add(row.split)
    assert all(len(splits) == 1 for splits in owners.values())


NOT_UTF8 = [b"caf\xe9.png", b"\xff \xfe.png", b"100%\xe9.png", b"sub\xe9/a.png", b" \xe9.png "]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_path_of_any_bytes_comes_back_and_the_table_is_text(suffix, tmp_path):
    names = [os.fsdecode(name) for name in NOT_UTF8] + ["file:a%20b.png", "a%E9.png", "a\rb.png"]
    rows = [Row(tmp_path / "x" / name, dataset="d\udce9", reference=str(tmp_path / name))
            for name in names]  # fmt: skip
    write_manifest(rows, tmp_path / f"m{suffix}")
    read = read_manifest(tmp_path / f"m{suffix}")
    assert [row.image for row in read] == [row.image for row in rows]
    assert [row.reference for row in read] == [row.reference for row in rows]
    assert {row.dataset for row in read} == {"d%E9"}
    if suffix == ".csv":
        text = (tmp_path / "m.csv").read_text("utf-8")
        assert "file:x/caf%E9.png" in text
        assert ",file:file%3Aa%2520b.png," in text  # a name that begins like that
        assert "x/a%E9.png" in text
    write_pairs([PairRow(rows[0].image, rows[1].image, "A")], tmp_path / f"p{suffix}")
    (pair,) = read_pairs(tmp_path / f"p{suffix}")
    assert (pair.image_a, pair.image_b) == (rows[0].image, rows[1].image)


@pytest.mark.parametrize(
    ("written", "there"),
    [
        ("a\u0308.png", "\u00e4.png"),
        ("\u00e4.png", "a\u0308.png"),
        ("e\u0301/u\u0308 b.png", "\u00e9/u\u0308 b.png"),  # the folder alone is composed
        (" a.png", "a.png"),
        ("a.png ", "a.png "),
        ("../u\u0308.png", "../\u00fc.png"),
        ("/none/\u00e4.png", None),
        ("n\u0303.png", None),
    ],
)
def test_names_are_found_in_the_spelling_on_disk(written, there, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    if there:
        (folder / there).parent.mkdir(exist_ok=True)
        (folder / there).write_bytes(b"")
    for column in ("image", "reference"):
        names = ("image", "reference", f'"{written}"', "x.png")
        cells = names if column == "image" else (*names[:2], "x.png", f'"{written}"')
        (folder / "m.csv").write_text("{},{}\n{},{}\n".format(*cells), "utf-8")
        (row,) = read_manifest(folder / "m.csv")
        found = Path(getattr(row, column))
        assert found == Path(os.path.normpath(folder / (there or written)))
        assert found.is_file() == bool(there)


def test_a_reference_keeps_its_outer_blanks(tmp_path):
    for name in (" lead.png", "trail.png "):
        (tmp_path / name).write_bytes(b"")
        write_manifest(
            [Row(tmp_path / "x.png", reference=str(tmp_path / name))], tmp_path / "m.csv"
        )
        assert read_manifest(tmp_path / "m.csv")[0].reference == str(tmp_path / name)


@pytest.mark.parametrize(
    "rows",
    [
        [Row(Path(f"/{name}.png"), content="s", split=name) for name in ("train", "val")],
        [Row(Path("/a.png")), Row(Path("/b.png")), Row(Path("/b.png"))],
        [Row(Path("/a.png")), Row(Path("/b.png"), score=7)],
        [Row(Path("/b.png"), severity=9)],
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_told_by_its_picture(rows, tmp_path):
    with pytest.raises(InputError, match=r"is not written") as error:
        write_manifest(rows, tmp_path / "m.csv")
    assert f"{rows[-1].image}, column" in str(error.value)
    assert " row " not in str(error.value)
    assert not (tmp_path / "m.csv").exists()
