"""Manifests: what is written is read back, and every fault is named by file, row and column."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest

from rali.errors import InputError
from rali.manifest import (
    PairRow,
    Row,
    read_manifest,
    read_pairs,
    select,
    write_manifest,
    write_pairs,
)
from rali.splits import assign_splits, partition


def some_rows(folder: Path) -> list[Row]:
    return [
        Row(folder / "a.jpg", 3.3333333333333335, 0.58, "d", "scene 1", "train", 0.25),
        Row(folder / "sub" / 'ü "b", c.png', 1.0, -7.0, "d", "scene, 2", "val"),
        Row(folder / "c.png", 5.0, None, "d", "", "test", None, str(folder / "r.png"), "blur", 5),
        Row(folder / " d .png", None),
        Row(folder.parent / "elsewhere" / "e.png", 2.5, severity=0),
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    rows = some_rows(tmp_path / "set")
    path = tmp_path / "set" / f"manifest{suffix}"
    write_manifest(rows, path)
    assert read_manifest(path) == rows
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # no temporary file is left


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_moved_folder_keeps_its_pictures(tmp_path: Path, suffix: str) -> None:
    write_manifest([Row(tmp_path / "old" / "pics" / "a.png", 2.0)], tmp_path / f"old/m{suffix}")
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_manifest(tmp_path / f"new/m{suffix}")[0].image == tmp_path / "new/pics/a.png"


def test_a_picture_that_shares_only_the_root_stays_absolute(tmp_path: Path) -> None:
    write_manifest([Row(Path("/no-such-place/a.png"))], tmp_path / "m.csv")
    assert "/no-such-place/a.png," in (tmp_path / "m.csv").read_text()


def test_a_spreadsheets_csv_is_read(tmp_path: Path) -> None:
    """Byte order mark, CRLF, blank lines, short rows, columns of other programs, 3.0 for 3."""
    text = "\ufeffother,image,score,severity\r\nx,a.png,2.5,3.0\r\n\r\ny,b.png\r\n"
    (tmp_path / "m.csv").write_text(text, encoding="utf-8", newline="")
    assert read_manifest(tmp_path / "m.csv") == [
        Row(tmp_path / "a.png", 2.5, severity=3),
        Row(tmp_path / "b.png"),
    ]


@pytest.mark.parametrize(
    ("text", "row", "column", "expected"),
    [
        ("image,score\na.png,good\n", 2, "score", "a number from 1 to 5"),
        ("image,score\na.png,nan\n", 2, "score", "a number from 1 to 5"),
        ("image,score\na.png,inf\n", 2, "score", "a number from 1 to 5"),
        ("image,score\na.png,1\nb.png,5.01\n", 3, "score", "a number from 1 to 5"),
        ("image,score\na.png,0.99\n", 2, "score", "a number from 1 to 5"),
        ("image,raw_score\na.png,-inf\n", 2, "raw_score", "a finite number"),
        ("image,std\na.png,-0.1\n", 2, "std", "a number not below 0"),
        ("image,split\na.png,training\n", 2, "split", "train, val, test, empty"),
        ("image,severity\na.png,6\n", 2, "severity", "a whole number from 0 to 5"),
        ("image,severity\na.png,2.5\n", 2, "severity", "a whole number from 0 to 5"),
        ("image,severity\na.png,mild\n", 2, "severity", "a whole number from 0 to 5"),
        ("image,score\n  ,3\n", 2, "image", "is empty"),
        ("image\na.png\nb.png\nx/../a.png\n", 4, "image", "already in row 2"),
        (
            "image,content,split\na.png,c,val\nb.png,c,\nd.png,c,test\n",
            4,
            "split",
            "'val' in row 2",
        ),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, row: int, column: str, expected: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_manifest(path)
    message = str(caught.value)
    assert str(path) in message
    assert f"row {row}, column {column!r}" in message
    assert expected in message


def test_a_straddling_content_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("image,content,split\na,beach,train\nb,beach,test\n")
    with pytest.raises(
        InputError, match=r"row 3.*'beach' is in 'test' here and in 'train' in row 2"
    ):
        read_manifest(tmp_path / "m.csv")


def test_one_content_name_in_two_data_sets_does_not_straddle(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("image,content,split,dataset\na,c,train,x\nb,c,test,y\n")
    assert len(read_manifest(tmp_path / "m.csv")) == 2


def test_ten_faults_are_listed_and_the_rest_counted(tmp_path: Path) -> None:
    lines = [f"p{number}.png,9" for number in range(14)]
    (tmp_path / "m.csv").write_text("\n".join(["image,score", *lines]))
    with pytest.raises(InputError) as caught:
        read_manifest(tmp_path / "m.csv")
    assert str(caught.value).count("a number from 1 to 5") == 10
    assert str(caught.value).endswith("and 4 more")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("m.csv", b"picture,score\na,3\n", "no column 'image'.*picture, score"),
        ("m.csv", b"", "no column 'image'"),
        ("m.csv", b"image,score\na.png,3,4\n", "row 2: 3 cells under 2 columns"),
        ("m.csv", b"image\n\xff\xfe.png\n", "UTF-8 CSV"),
        ("m.parquet", b"not parquet", "Parquet file"),
        ("m.xlsx", b"", ".csv or .parquet, not '.xlsx'"),
        ("missing.csv", None, "There is no manifest"),
    ],
)
def test_files_that_are_no_manifest(
    tmp_path: Path, name: str, content: bytes | None, expected: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=expected):
        read_manifest(tmp_path / name)


def test_a_parquet_nan_is_a_fault(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(
        pa.table({"image": ["a", "b"], "score": [3.0, float("nan")]}), tmp_path / "m.parquet"
    )
    with pytest.raises(InputError, match="row 3, column 'score': 'nan'"):
        read_manifest(tmp_path / "m.parquet")


def test_writing_checks_too_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    write_manifest([Row(tmp_path / "a.png", 2.0)], path)
    before = path.read_text()
    with pytest.raises(InputError, match="row 2, column 'score'"):
        write_manifest([Row(tmp_path / "a.png", float("nan"))], path)
    with pytest.raises(InputError, match="row 2, column 'image': is empty"):
        write_manifest([Row(Path())], path)
    assert path.read_text() == before


def test_missing_pictures_are_reported_on_demand(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    write_manifest([Row(tmp_path / "a.png"), Row(tmp_path / "b.png")], tmp_path / "m.csv")
    assert len(read_manifest(tmp_path / "m.csv")) == 2
    with pytest.raises(InputError, match=r"row 3, column 'image': there is no file .*b\.png"):
        read_manifest(tmp_path / "m.csv", check_files=True)


def test_select(tmp_path: Path) -> None:
    rows = some_rows(tmp_path)
    assert select(rows, None) == rows
    assert select(rows, "val") == rows[1:2]
    assert select(rows, "") == rows[3:]
    with pytest.raises(InputError, match="no split 'training'"):
        select(rows, "training")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_pairs_round_trip(tmp_path: Path, suffix: str) -> None:
    a, b, c = (tmp_path / f"{name}.png" for name in "abc")
    pairs = [
        PairRow(a, b, "A", str(c), "d", "c", "train"),
        PairRow(b, a, "B"),
        PairRow(a, c, "similar", split="test"),
    ]
    write_pairs(pairs, tmp_path / f"pairs{suffix}")
    assert read_pairs(tmp_path / f"pairs{suffix}") == pairs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image_a,image_b,result\na,b,Image A\n", "row 2, column 'result'.*A, B, similar"),
        ("image_a,image_b,result\na,b,\n", "row 2, column 'result'"),
        ("image_a,image_b,result\na,,A\n", "row 2, column 'image_b': is empty"),
        ("image_a,result\na,A\n", "no column 'image_b'"),
        (
            "image_a,image_b,result,content,split\na,b,A,c,train\na,d,B,c,val\n",
            "row 3, column 'split': content 'c'",
        ),
    ],
)
def test_faults_of_pairs_are_named(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError, match=expected):
        read_pairs(tmp_path / "p.csv")


# ── splits ───────────────────────────────────────────────────────────────────────────────────────


def series(folder: Path, groups: dict[str, int], dataset: str = "d") -> list[Row]:
    return [
        Row(folder / f"{content}-{number}.png", 3.0, dataset=dataset, content=content)
        for content, size in groups.items()
        for number in range(size)
    ]


def split_of(rows: list[Row]) -> dict[str, str]:
    return {row.image.name: row.split for row in rows}


def test_no_content_straddles_and_sizes_fit(tmp_path: Path) -> None:
    draw = random.Random(0)
    groups = {f"scene{number}": draw.randint(1, 12) for number in range(200)}
    rows = assign_splits(series(tmp_path, groups))
    splits = defaultdict(set)
    for row in rows:
        splits[row.content].add(row.split)
    assert all(len(found) == 1 for found in splits.values())
    sizes = Counter(row.split for row in rows)
    for name, share in {"train": 0.6, "val": 0.2, "test": 0.2}.items():
        assert abs(sizes[name] - share * len(rows)) <= 1
    # Long series are dealt out in proportion too, not all to the largest split.
    long = Counter(next(iter(splits[name])) for name, size in groups.items() if size >= 10)
    assert long["train"] < 0.85 * sum(long.values())


def test_a_split_is_the_same_for_any_order_and_any_folder(tmp_path: Path) -> None:
    rows = series(tmp_path, {f"s{number}": 1 + number % 4 for number in range(50)})
    rows += [Row(tmp_path / "solo" / f"{number}.png") for number in range(30)]
    expected = split_of(assign_splits(rows, seed=3))
    shuffled = random.Random(1).sample(rows, len(rows))
    moved = [replace(r, image=Path("/elsewhere") / r.image.relative_to(tmp_path)) for r in shuffled]
    assert [row.image for row in assign_splits(shuffled, seed=3)] == [r.image for r in shuffled]
    assert split_of(assign_splits(moved, seed=3)) == expected
    assert split_of(assign_splits(rows, seed=4)) != expected


def test_a_split_is_the_one_of_every_other_machine() -> None:
    """Written out once: a change of the hash or the order would move everybody's test sets."""
    rows = [
        Row(Path(f"/p/{number}.png"), dataset="d", content=f"c{number}") for number in range(10)
    ]
    letters = [row.split[1] for row in assign_splits(rows, (6, 2, 2), seed=0)]  # tRain, vAl, tEst
    assert "".join(letters) == "arrrreerar"


def test_each_data_set_is_split_by_itself(tmp_path: Path) -> None:
    small = series(tmp_path, {f"x{number}": 1 for number in range(10)}, "small")
    large = series(tmp_path, {f"y{number}": 1 for number in range(100)}, "large")
    sizes = Counter((row.dataset, row.split) for row in assign_splits(small + large))
    assert sizes["small", "test"] == 2
    assert sizes["large", "test"] == 20
    alone = split_of(assign_splits(small))
    together = split_of(assign_splits(large + small))
    assert all(together[name] == split for name, split in alone.items())


@pytest.mark.parametrize(
    ("fractions", "expected"),
    [
        ((6, 2, 2), {"train": 60, "val": 20, "test": 20}),
        ((0.6, 0.2, 0.2), {"train": 60, "val": 20, "test": 20}),
        ((8, 2), {"train": 80, "test": 20}),
        ((9, 0, 1), {"train": 90, "test": 10}),
        ((0, 0, 1), {"test": 100}),
    ],
)
def test_fractions(tmp_path: Path, fractions: tuple[float, ...], expected: dict[str, int]) -> None:
    rows = [Row(tmp_path / f"{number}.png", split="val") for number in range(100)]
    assert Counter(row.split for row in assign_splits(rows, fractions)) == expected


@pytest.mark.parametrize(
    "fractions", [(1,), (), (1, 1, 1, 1), (0, 0, 0), (-1, 2), (float("nan"), 1)]
)
def test_fractions_that_are_none(fractions: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"6:2:2 or 8:2"):
        assign_splits([], fractions)


def test_few_contents_leave_no_split_empty(tmp_path: Path) -> None:
    rows = assign_splits(series(tmp_path, {"a": 25, "b": 25, "c": 25}))
    assert Counter(row.split for row in rows) == {"train": 25, "val": 25, "test": 25}
    assert assign_splits([]) == []


def test_partition_swaps_to_come_nearer() -> None:
    sizes = [5, 4, 3, 2]
    parts = partition(sizes, [0.5, 0.5])
    assert sum(size for size, part in zip(sizes, parts, strict=True) if part == 0) == 7
