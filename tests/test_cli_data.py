"""`rali data` as a person types it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from rali.cli.data import app
from rali.errors import InputError
from rali.manifest import Row, read_manifest, write_manifest
from rali.triplets import read_triplets


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def succeed(*words: object) -> Result:
    result = run(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def refuse(*words: object) -> str:
    """The sentence of the error, which `rali` prints before it exits with 2."""
    result = run(*words)
    assert isinstance(result.exception, InputError), (result.output, result.exception)
    return str(result.exception)


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    lines = ["image,mos,scene,split"]
    for number in range(10):
        Image.new("RGB", (48, 32), (number * 20, 90, 200)).save(tmp_path / f"images/{number}.png")
        lines.append(f"{number}.PNG,{number / 10},s{number // 2},")
    (tmp_path / "index.csv").write_text("\n".join(lines))
    return tmp_path / "index.csv"


@pytest.mark.parametrize(("low", "high", "expected"), [(0, 1, 1.4), (1, 0, 4.6)])
def test_import_csv(listed: Path, low: int, high: int, expected: float) -> None:
    out = listed.parent / "manifest.csv"
    words = ["--image", "image", "--score", "mos", "--content", "scene", "--split", "split"]
    result = succeed(
        *("import", "csv", listed, "--images", listed.parent / "images", *words),
        *("--range", low, high, "-o", out),
    )
    assert "10 rows, 10 with a score" in result.stderr
    rows = read_manifest(out, check_files=True)
    assert rows[1].score == pytest.approx(expected)
    assert (rows[1].dataset, rows[1].content, rows[1].raw_score) == ("index", "s0", 0.1)


def test_import_csv_refuses(listed: Path) -> None:
    out = listed.parent / "m.csv"
    images = ("--images", listed.parent / "images")
    assert "--range LOW HIGH" in refuse("import", "csv", listed, "--score", "mos", "-o", out)
    bad_range = ("--score", "mos", "--range", 0, 0.5)
    assert "row 8, column 'mos'" in refuse("import", "csv", listed, *images, *bad_range, "-o", out)
    assert "no column 'x'" in refuse("import", "csv", listed, "--image", "x", "-o", out)
    assert "10 of the 10 pictures" in refuse("import", "csv", listed, "-o", out)
    assert not out.exists()
    succeed("import", "csv", listed, "--labels-only", "-o", out)
    assert run("import", "csv", listed).exit_code == 2  # no -o


def test_the_other_importers(tmp_path: Path, listed: Path) -> None:
    out = tmp_path / "m.parquet"
    succeed("import", "folder", listed.parent / "images", "-o", out)
    assert len(read_manifest(out)) == 10

    (tmp_path / "meta_info_x.csv").write_text("name,mos\nimages/1.png,2\n")
    succeed("import", "meta-info", tmp_path / "meta_info_x.csv", "--range", 0, 4, "-o", out)
    assert read_manifest(out) == [Row(tmp_path / "images/1.png", 3.0, 2.0, "x")]

    (tmp_path / "d.json").write_text('[{"image": "1.png", "gt_score": 1, "gt_score_norm": 2}]')
    words = ("--images", tmp_path / "images", "--split", "test", "--dataset", "k")
    succeed("import", "deqa", tmp_path / "d.json", *words, "-o", out)
    assert read_manifest(out) == [Row(tmp_path / "images/1.png", 2.0, 1.0, "k", split="test")]

    biq = "image,mos,split,subset,scene\n1.png,0.5,train,ss01,s\n"
    (tmp_path / "index.csv").write_text(biq)
    succeed("import", "biq2021", tmp_path, "--by-subset", "-o", out)
    assert read_manifest(out)[0].dataset == "biq2021-ss01"

    koniq = "image_name,MOS,SD,set\n1.jpg,50,0.5,test\n"
    (tmp_path / "koniq10k_distributions_sets.csv").write_text(koniq)
    succeed("import", "koniq10k", tmp_path, "--labels-only", "-o", out)
    assert read_manifest(out)[0].split == "test"


def test_split(tmp_path: Path) -> None:
    rows = [Row(tmp_path / f"{n}.png", 3.0, content=f"c{n // 2}") for n in range(20)]
    write_manifest(rows, tmp_path / "m.csv")
    result = succeed("split", tmp_path / "m.csv", "--fractions", "6:2:2", "-o", tmp_path / "s.csv")
    assert "train: 12 rows" in result.stderr
    assert "test: 4 rows" in result.stderr
    assert len(read_manifest(tmp_path / "s.csv")) == 20
    bad = ("split", tmp_path / "m.csv", "-o", tmp_path / "s.csv", "--fractions")
    assert "as in 6:2:2" in refuse(*bad, "most:rest")
    assert "train:val:test or train:test" in refuse(*bad, "1:2:3:4")


def test_check(tmp_path: Path, listed: Path) -> None:
    rows = [
        Row(listed.parent / f"images/{n}.png", 1 + n / 3, dataset="d", split="train" if n else "")
        for n in range(10)
    ]
    write_manifest(rows, tmp_path / "m.csv")
    output = succeed("check", tmp_path / "m.csv").stdout
    for word in ("d", "train", "9", "1.333", "4.000", "10 rows, all pictures are there"):
        assert word in output
    (listed.parent / "images/3.png").unlink()
    result = run("check", tmp_path / "m.csv")
    assert result.exit_code == 1
    assert "1 of 10 pictures are missing" in result.stderr
    (tmp_path / "bad.csv").write_text("image,score\na.png,7\n")
    assert "row 2, column 'score'" in refuse("check", tmp_path / "bad.csv")


def test_degrade_then_split_then_rationales(tmp_path: Path, listed: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in (1, 2):
        (listed.parent / f"images/{number}.png").rename(photos / f"{number}.png")
    out = tmp_path / "degraded"
    words = ("--distortion", "blur", "--severity", 2, "--severity", 4, "--size", 24)
    succeed("degrade", photos, "-o", out, *words)
    rows = read_manifest(out / "manifest.csv", check_files=True)
    assert {(row.distortion, row.severity) for row in rows} >= {("blur", 2), ("blur", 4)}
    assert {row.content for row in rows} == {"1", "2"}
    assert {Image.open(row.image).size for row in rows} == {(24, 16)}

    succeed("split", out / "manifest.csv", "--fractions", "1:1", "-o", out / "split.csv")
    train = [row for row in read_manifest(out / "split.csv") if row.split == "train"]
    words = ("--count", 2, "--split", "train", "-o", tmp_path / "triplets")
    assert f"{2 * len(train)} triplets" in succeed("rationales", out / "split.csv", *words).stderr
    assert len(read_triplets(tmp_path / "triplets")) == 2 * len(train)
    again = succeed("rationales", out / "split.csv", *words).stderr
    assert again.startswith("0 triplets") and f"({2 * len(train)} were there)" in again


def test_pictures_that_cannot_be_read_are_said_and_left_out(tmp_path: Path, listed: Path) -> None:
    photos = listed.parent / "images"
    (photos / "broken.png").write_bytes(b"no picture")
    result = run("degrade", photos, "-o", tmp_path / "d", "--distortion", "blur", "--severity", 1)
    assert result.exit_code == 1
    assert "broken.png" in result.stderr
    assert len(read_manifest(tmp_path / "d" / "manifest.csv")) == 20

    succeed("import", "folder", photos, "-o", tmp_path / "m.csv")
    result = run("rationales", tmp_path / "m.csv", "-o", tmp_path / "t", "--count", 1)
    assert result.exit_code == 1
    assert "1 of 11 pictures were left out" in result.stderr
    assert len(read_triplets(tmp_path / "t")) == 10


def test_nothing_to_do_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no pictures" in refuse("degrade", tmp_path / "empty", "-o", tmp_path / "d")
    write_manifest([Row(tmp_path / "a.png")], tmp_path / "m.csv")
    message = refuse("rationales", tmp_path / "m.csv", "-o", tmp_path / "t", "--split", "val")
    assert "no rows of split 'val'" in message


@pytest.mark.parametrize(
    "words",
    [
        *([name] for name in ("split", "check", "degrade", "rationales", "import")),
        *(
            ["import", name]
            for name in ("csv", "biq2021", "koniq10k", "meta-info", "deqa", "folder")
        ),
    ],
)
def test_every_command_explains_itself(words: list[str]) -> None:
    output = succeed(*words, "--help").output
    assert "Example: rali data" in output or words == ["import"]
