"""`rali data …`: what a user types, the files it writes, one sentence when it is wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rali.cli.data import app
from rali.data.manifest import read_manifest
from rali.data.triplets import read_triplets
from rali.errors import InputError


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rali(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.output


def refusal(*arguments: object) -> str:
    """The sentence of an InputError, which `rali` prints before it exits with 2."""
    result = invoke(*arguments)
    assert isinstance(result.exception, InputError), result.output
    return str(result.exception)


@pytest.fixture
def release(tmp_path) -> Path:
    """Six photographs of three scenes, listed in a CSV of somebody's own."""
    (tmp_path / "photos").mkdir()
    lines = ["image,mos,sd,scene,split"]
    for number in range(6):
        (tmp_path / "photos" / f"{number}.JPG").write_bytes(b"x")
        lines.append(f"{number}.jpg,{number / 5},0.1,s{number // 2},{'train' * (number < 4)}")
    (tmp_path / "index.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def import_csv(release: Path, *more: object) -> list[object]:
    return [
        *("import", "csv", release / "index.csv", "--images", release / "photos"),
        *("--image", "image", "--score", "mos", "--content", "scene", "--split", "split"),
        *("-o", release / "manifest.csv"),
        *more,
    ]


def test_import_csv_as_the_readme_types_it(release):
    output = rali(*import_csv(release, "--range", 0, 1))
    rows = read_manifest(release / "manifest.csv", check_files=True)
    assert [row.score for row in rows] == pytest.approx([1, 1.8, 2.6, 3.4, 4.2, 5])
    assert [row.content for row in rows] == ["s0", "s0", "s1", "s1", "s2", "s2"]
    assert [row.split for row in rows] == ["train"] * 4 + [""] * 2
    assert "1.00–3.40" in output
    assert "6 rows" in output
    assert (release / "manifest.csv").read_text().splitlines()[1].startswith("photos/0.JPG,1.0,")


def test_import_csv_flips_a_range_given_high_to_low(release):
    rali(*import_csv(release, "--range", 1, 0, "--std", "sd", "--dataset", "mine"))
    rows = read_manifest(release / "manifest.csv")
    assert [row.score for row in rows] == pytest.approx([5, 4.2, 3.4, 2.6, 1.8, 1])
    assert rows[0].std == pytest.approx(0.4)
    assert rows[0].dataset == "mine"


def test_import_csv_takes_a_negative_range(release):
    rali(*import_csv(release, "--range", -1, 1))
    assert read_manifest(release / "manifest.csv")[0].score == 3.0


def test_import_errors_are_sentences_and_write_nothing(release):
    assert "row 7, column 'mos'" in refusal(*import_csv(release, "--range", 0, 0.9))
    assert "--range WORST BEST" in refusal(*import_csv(release))
    assert "no column 'quality'" in refusal(
        "import", "csv", release / "index.csv", "--image", "quality", "-o", release / "m.csv"
    )
    assert ".csv or .parquet" in refusal(
        "import", "folder", release / "photos", "-o", release / "m.xlsx"
    )
    assert not list(release.glob("m*"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["import", "csv", "index.csv"],  # no -o
        ["import", "csv", "index.csv", "--range", "0", "-o", "m.csv"],
        ["import", "csv", "index.csv", "--range", "low", "high", "-o", "m.csv"],
        ["import", "nothing", "x"],
        ["import", "meta-info", "x.csv", "-o", "m.csv"],  # no --range
        ["split", "m.csv", "--fractions", "6:x", "-o", "n.csv"],
        ["degrade", "-o", "out"],
        ["degrade", "a.jpg", "--severity", "6", "-o", "out"],
        ["rationales", "m.csv", "--count", "0", "-o", "t"],
    ],
)
def test_bad_usage_exits_with_2(arguments):
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "Usage" in result.output


def test_errors_cross_the_command_line_as_one_sentence(release, monkeypatch, capsys):
    from rali.cli import main

    arguments = ["rali", "data", "check", str(release / "missing.csv")]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"rali: There is no manifest at {release / 'missing.csv'}.\n"


def test_the_other_importers(tmp_path):
    biq = tmp_path / "biq"
    (biq / "images").mkdir(parents=True)
    (biq / "images" / "a.jpg").write_bytes(b"x")
    (biq / "index.csv").write_text("image,mos,split,subset,scene\na.jpg,0.5,test,ss03,s\n")
    rali("import", "biq2021", biq, "--by-subset", "-o", tmp_path / "b.parquet")
    [row] = read_manifest(tmp_path / "b.parquet")
    assert (row.dataset, row.score, row.split) == ("biq2021-ss03", 3.0, "test")

    (tmp_path / "koniq10k_distributions_sets.csv").write_text(
        "image_name,MOS,SD,set\n1.jpg,50,0.5,validation\n"
    )
    koniq = ("import", "koniq10k", tmp_path, "-o", tmp_path / "k.csv")
    assert "1 of the 1 pictures" in refusal(*koniq)
    rali(*koniq, "--labels-only", "--resolution", "512x384")
    [row] = read_manifest(tmp_path / "k.csv")
    assert (row.image.parent.name, row.split) == ("512x384", "val")

    (tmp_path / "meta_info_M.csv").write_text("ref.png,images/a.jpg,0.25\n")
    rali(
        *("import", "meta-info", tmp_path / "meta_info_M.csv", "--range", 1, 0, "--images", biq),
        *("-o", tmp_path / "m.csv"),
    )
    [row] = read_manifest(tmp_path / "m.csv")
    assert (row.score, row.content, row.dataset) == (4.0, "ref", "M")

    item = {"image": "images/a.jpg", "gt_score": 60, "gt_score_norm": 3.5, "std": 8}
    (tmp_path / "deqa.json").write_text(json.dumps([item]))
    deqa = ("import", "deqa", tmp_path / "deqa.json", "--images", biq, "-o", tmp_path / "d.csv")
    rali(*deqa, "--split", "test", "--dataset", "set")
    [row] = read_manifest(tmp_path / "d.csv")
    assert (row.score, row.split, row.dataset) == (3.5, "test", "set")
    rali(*deqa, "--range", 0, 100)
    assert read_manifest(tmp_path / "d.csv")[0].score == pytest.approx(3.4)

    rali("import", "folder", biq, "-o", tmp_path / "f.csv")
    assert [row.image for row in read_manifest(tmp_path / "f.csv")] == [biq / "images" / "a.jpg"]
    rali("import", "folder", biq / "images", "--no-recursive", "-o", tmp_path / "f.csv")
    assert len(read_manifest(tmp_path / "f.csv")) == 1


def test_split_replaces_splits_even_straddling_ones(release):
    rali(*import_csv(release, "--range", 0, 1))
    manifest = release / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("s0,train", "s0,test", 1))
    assert "belongs to one split" in refusal("check", manifest)
    output = rali("split", manifest, "--fractions", "1:1:1", "-o", release / "split.csv")
    rows = read_manifest(release / "split.csv")
    assert sorted({row.split for row in rows}) == ["test", "train", "val"]
    assert all(a.split == b.split for a, b in zip(rows[::2], rows[1::2], strict=True))
    assert "val" in output
    before = (release / "split.csv").read_bytes()
    rali("split", manifest, "--fractions", "2:2:2", "--seed", 0, "-o", release / "split.csv")
    assert (release / "split.csv").read_bytes() == before
    assert "train:val:test" in refusal(
        "split", manifest, "--fractions", "1:2:3:4", "-o", release / "s.csv"
    )


def test_check_counts_and_reports_missing_pictures(release):
    rali(*import_csv(release, "--range", 0, 1))
    output = rali("check", release / "manifest.csv")
    for cell in ("index", "train", "1.00–3.40", "4.20–5.00"):
        assert cell in output
    (release / "photos" / "3.JPG").unlink()
    result = invoke("check", release / "manifest.csv")
    assert result.exit_code == 1
    assert "1 of 6 pictures are missing" in result.output
    assert "3.JPG" in result.output
    rali("check", release / "manifest.csv", "--no-files")


def test_degrade_then_rationales(photograph_files, tmp_path):
    out, triplets = tmp_path / "degraded", tmp_path / "triplets"
    command = [
        *("degrade", *photograph_files[:2], "-o", out, "--size", 64),
        *("--distortion", "jpeg", "--distortion", "blur", "--severity", 1, "--severity", 5),
    ]
    assert "10 pictures of 2 photographs" in rali(*command)
    rows = read_manifest(out / "manifest.csv", check_files=True)
    found = {(row.content, row.distortion, row.severity) for row in rows}
    kinds = {("null", 0), *((d, s) for d in ("compression", "blur") for s in (1, 5))}
    assert found == {(path.stem, *kind) for path in photograph_files[:2] for kind in kinds}
    written = {row.image: row.image.stat().st_mtime_ns for row in rows}
    rali(*command)
    assert {row.image: row.image.stat().st_mtime_ns for row in rows} == written

    output = rali("rationales", out / "manifest.csv", "-o", triplets, "--count", 2)
    assert "20 new triplets of 10 pictures" in output
    assert {t.image for t in read_triplets(triplets)} == set(written)
    output = rali("rationales", out / "manifest.csv", "-o", triplets, "--count", 2)
    assert "0 new triplets" in output


def test_degrade_refuses_unknown_names_and_missing_files(photograph_files, tmp_path):
    message = refusal("degrade", photograph_files[0], "-o", tmp_path, "--distortion", "fog")
    assert "fog" in message
    assert refusal("degrade", tmp_path / "none.jpg", "-o", tmp_path / "out")


def test_rationales_of_one_split(photograph_files, tmp_path):
    lines = [f"{p},{s}" for p, s in zip(photograph_files, ["train", "test", "train"], strict=False)]
    (tmp_path / "m.csv").write_text("image,split\n" + "\n".join(lines) + "\n")
    rali("rationales", tmp_path / "m.csv", "-o", tmp_path / "t", "--count", 1, "--split", "train")
    assert {t.image for t in read_triplets(tmp_path / "t")} == {
        photograph_files[0],
        photograph_files[2],
    }
    assert "no rows of the split 'val'" in refusal(
        "rationales", tmp_path / "m.csv", "-o", tmp_path / "t", "--split", "val"
    )


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["import"],
        *(["import", n] for n in ("csv", "biq2021", "koniq10k", "meta-info", "deqa", "folder")),
        *([name] for name in ("split", "check", "degrade", "rationales")),
    ],
)
def test_every_command_explains_itself(command):
    output = rali(*command, "--help")
    assert "Usage" in output
    if command and command != ["import"]:
        assert "Example: rali data" in output


@pytest.mark.data
def test_biq2021_by_naming_its_columns(data_dir, tmp_path):
    from rali.data.importers import biq2021

    index = data_dir / "biq2021" / "index.csv"
    rali(
        *("import", "csv", index, "--images", index.parent / "images", "--image", "image"),
        *("--score", "mos", "--range", 0, 1, "--content", "scene", "--split", "split"),
        *("--dataset", "biq2021", "-o", tmp_path / "columns.csv"),
    )
    assert read_manifest(tmp_path / "columns.csv") == biq2021.read(index.parent)


def test_degrade_of_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    message = refusal("degrade", tmp_path / "empty", "-o", tmp_path / "out")
    assert "no pictures" in message and not (tmp_path / "out").exists()


def test_degrade_names_what_it_left_out_and_exits_1(photograph_files, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a picture")
    arguments = ("degrade", photograph_files[0], broken, "-o", tmp_path / "out", "--size", 32)
    result = CliRunner().invoke(app, [str(a) for a in (*arguments, "--distortion", "blur")])
    assert result.exit_code == 1 and "broken.jpg" in result.stderr
    assert (tmp_path / "out" / "manifest.csv").is_file()


def test_names_that_are_not_utf8(photograph_files, tmp_path):
    """Imported, degraded and checked in processes of their own, whose output is UTF-8."""
    photos, made = tmp_path / os.fsdecode(b"photos\xe9"), tmp_path / os.fsdecode(b"d\xe9")
    photos.mkdir()
    for name, file in zip((b"caf\xe9.jpg", b"caf\xe8.jpg"), photograph_files, strict=False):
        shutil.copyfile(file, photos / os.fsdecode(name))
    table = tmp_path / os.fsdecode(b"m\xe9.csv")
    degrade = ["degrade", photos, "-o", made, "--size", "64", "--distortion", "blur"]
    for arguments in (
        ["import", "folder", photos, "-o", table],
        ["check", table],
        [*degrade, "--severity", "1"],
        [*degrade, "--severity", "1"],  # resumed
        ["check", made / "manifest.csv"],
        ["rationales", made / "manifest.csv", "-o", made / "triplets", "--count", "1"],
    ):
        command = [sys.executable, "-m", "rali", "data", *map(str, arguments)]
        ran = subprocess.run(command, capture_output=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
        assert ran.returncode == 0, ran.stderr.decode("utf-8", "replace")
    found = read_manifest(table)
    assert {os.fsencode(row.image.name) for row in found} == {b"caf\xe9.jpg", b"caf\xe8.jpg"}
    assert all(row.image.is_file() for row in found)
    assert {row.dataset for row in found} == {"photos%E9"}
    degraded = read_manifest(made / "manifest.csv", check_files=True)
    assert {row.content for row in degraded} == {"caf%E9", "caf%E8"}
    assert {t.image for t in read_triplets(made / "triplets")} <= {row.image for row in degraded}


def test_import_folder_follows_links(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "real").mkdir()
    for name in ("data/1.png", "real/2.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "data" / "linked").symlink_to("../real")
    rali("import", "folder", tmp_path / "data", "-o", tmp_path / "m.csv")
    names = [
        row.image.relative_to(tmp_path).as_posix() for row in read_manifest(tmp_path / "m.csv")
    ]
    assert names == ["data/1.png", "data/linked/2.png"]


def test_splits_of_numbers_are_mapped(tmp_path):
    (tmp_path / "meta_info_flive.csv").write_text(
        "img_name,mos,std,split,ratio\n0.png,3,0.1,0,0.5\n1.png,4,0.2,2,0.5\n"
    )
    for name in ("0.png", "1.png"):
        (tmp_path / name).write_bytes(b"")
    table, output = tmp_path / "meta_info_flive.csv", tmp_path / "m.csv"
    mapped = ["--split-name", "0=train", "--split-name", "1=val", "--split-name", "2=test"]
    columns = ["--image", "img_name", "--split", "split"]
    for command in (["meta-info", table, "--range", 1, 5], ["csv", table, *columns]):
        rali("import", *command, *mapped, "-o", output)
        assert [row.split for row in read_manifest(output)] == ["train", "test"]
        assert "--split-name 0=train" in refusal("import", *command, "-o", output)
