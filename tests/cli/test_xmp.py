"""`rali score --xmp`: stars that photo managers read, nothing of theirs lost, and the way back."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image, UnidentifiedImageError
from typer.testing import CliRunner, Result

from rali.cli._undo import read_sidecar
from rali.cli.score import score
from rali.pictures.embedded import embedded_rating
from rali.report.xmp_packet import Packet
from rali.report.xmp_sidecar import RATING
from tiny_onnx import write_model

app = typer.Typer()
app.command()(score)

DARKTABLE = """<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:darktable="http://darktable.sf.net/"
   xmp:Rating="RATING"
   darktable:xmp_version="5">
   <darktable:history>
    <rdf:Seq/>
   </darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("m") / "onnx" / "model.onnx"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Scores are 1 + 3.5 · grey: 1.69, 3.06 and 4.43."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, level in (("dark", 50), ("grey", 150), ("light", 250)):
        Image.fromarray(np.full((20, 30, 3), level, np.uint8)).save(folder / f"{name}.jpg")
    return folder


@pytest.fixture
def run(photos: Path, model: str):
    def run(*options: str | Path, source: Path = photos) -> Result:
        return CliRunner().invoke(app, [str(source), "-m", model, "--xmp", *map(str, options)])

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".rali-xmp" not in path.parts
    }


def rating(path: Path) -> str | None:
    found = Packet(path.read_bytes()).get(RATING)
    return None if found is None else found.value


def test_written_once_and_undone_byte_for_byte(photos: Path, run) -> None:
    (photos / "grey.jpg.xmp").write_text(DARKTABLE.replace("RATING", "0"))
    (photos / "light.jpg.xmp").write_text(DARKTABLE.replace("RATING", "4"))
    (photos / "grey.jpg.xmp").chmod(0o640)
    before = contents(photos)
    first = run()
    assert first.exit_code == 0, first.output
    assert "1 made, 2 changed, 0 as before; 1 keep a rating that is not rali's." in first.stderr
    ratings = [rating(photos / f"{name}.jpg.xmp") for name in ("dark", "grey", "light")]
    assert ratings == ["1", "2", "4"]
    assert (photos / "grey.jpg.xmp").stat().st_mode & 0o777 == 0o640
    after = contents(photos)
    pictures = [name for name in before if name.endswith(".jpg")]
    assert all(before[name] == after[name] for name in pictures)
    assert "0 made, 0 changed, 3 as before" in run().stderr
    assert contents(photos) == after
    assert "2 changed, 1 as before" in run("--stars", "1.5,2,3,4").stderr
    assert rating(photos / "dark.jpg.xmp") == "2"
    undone = run("--undo")
    assert undone.exit_code == 0
    assert "2 restored, 1 deleted, 0 edited" in undone.stderr
    assert contents(photos) == before and not (photos / ".rali-xmp").exists()
    assert (photos / "grey.jpg.xmp").stat().st_mode & 0o777 == 0o640
    assert "0 restored, 0 deleted" in run("--undo").stderr


def test_undo_leaves_what_was_edited_since(photos: Path, run) -> None:
    (photos / "grey.jpg.xmp").write_text(DARKTABLE.replace("RATING", "0"))
    run()
    edited = photos / "grey.jpg.xmp"
    edited.write_bytes(edited.read_bytes().replace(b'Rating="2"', b'Rating="5"'))
    theirs = edited.read_bytes()
    undone = run("--undo")
    assert undone.exit_code == 1
    assert "grey.jpg.xmp was edited since" in undone.stderr
    assert "0 restored, 2 deleted, 1 edited" in undone.stderr
    assert edited.read_bytes() == theirs
    # Written into again, undoing goes back to the edit and no further.
    Image.new("RGB", (20, 30)).save(photos / "grey.jpg")
    assert "2 made, 1 changed" in run().stderr
    assert rating(edited) == "5"
    assert "1 restored, 2 deleted" in run("--undo").stderr
    assert edited.read_bytes() == theirs


def test_a_kill_between_the_note_and_the_write_does_no_harm(
    photos: Path, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar = photos / "grey.jpg.xmp"
    sidecar.write_text(DARKTABLE.replace("RATING", "0"))
    before = contents(photos)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("rali.cli._undo._replace", killed)
        run()
    record = photos / ".rali-xmp" / "undo.jsonl"
    record.write_bytes(record.read_bytes() + b'{"sidecar": "gr')
    assert contents(photos) == before
    assert "3 restored" not in run("--undo").stderr
    assert contents(photos) == before
    run()
    run("--undo")
    assert contents(photos) == before


def test_undoing_says_nothing_of_what_could_not_be_written(
    photos: Path, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> bool:
        raise PermissionError(13, "Permission denied")

    before = contents(photos)
    with monkeypatch.context() as patched:
        patched.setattr("rali.cli._undo._replace", refused)
        assert run().exit_code == 1
    assert contents(photos) == before
    undone = run("--undo")
    assert "restored" not in undone.stderr or "0 restored, 0 deleted" in undone.stderr
    assert contents(photos) == before


def test_resumed_with_a_file(photos: Path, run, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    run("-o", rows)
    (photos / "dark.jpg.xmp").unlink()
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(photos / "new.jpg")
    again = run("-o", rows)
    assert "1 made, 0 changed, 0 as before" in again.stderr  # rows that are there are done
    assert (photos / "new.jpg.xmp").is_file()
    other = run("-o", rows, "--stars", "1,2,3,4")
    assert "were made with --xmp --xmp-name full --stars 2.07" in str(other.exception)


def test_a_sidecar_that_cannot_be_used_stays_and_is_told(photos: Path, run) -> None:
    broken = photos / "grey.jpg.xmp"
    broken.write_bytes(b"<!DOCTYPE x><x/>")
    (photos / "light.jpg.xmp").mkdir()
    result = run()
    assert result.exit_code == 1
    assert "grey.jpg.xmp stays as it is: It has a DOCTYPE" in result.stderr
    assert "light.jpg.xmp stays as it is: Is a directory" in result.stderr
    assert "1 made, 0 changed, 0 as before, 2 failed" in result.stderr
    assert broken.read_bytes() == b"<!DOCTYPE x><x/>"


def test_adobe_names_belong_to_one_picture(photos: Path, run) -> None:
    Image.new("RGB", (20, 30)).save(photos / "grey.png")
    result = run("--xmp-name", "adobe")
    assert "2 made, 0 changed, 0 as before, 2 failed" in result.stderr
    assert "each picture named grey" in result.stderr
    assert (photos / "dark.xmp").is_file() and not (photos / "grey.xmp").exists()
    assert "2 deleted" in run("--undo").stderr


def test_what_another_program_writes_at_the_same_time_is_kept(
    photos: Path, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar = photos / "grey.jpg.xmp"
    theirs = [DARKTABLE.replace("RATING", stars) for stars in ("2", "5")]

    def slowly(path: Path) -> bytes | None:
        before = read_sidecar(path)
        if path == sidecar and theirs:  # between rali's reading and its writing
            sidecar.write_text(theirs.pop(), "utf-8", newline="")
        return before

    monkeypatch.setattr("rali.cli._xmp.read_sidecar", slowly)
    assert "2 made, 1 changed, 0 as before; 1 keep a rating" in run().stderr
    assert rating(sidecar) == "2" and "rali:Score" in sidecar.read_text("utf-8")
    assert "1 restored" in run("--undo").stderr
    assert sidecar.read_text("utf-8") == DARKTABLE.replace("RATING", "2")
    theirs[:] = [DARKTABLE.replace("RATING", str(stars)) for stars in range(9)]
    assert "Another program writes it again and again" in run().stderr
    assert rating(sidecar) == "4"
    assert "0 restored, 2 deleted, 0 edited since and left" in run("--undo").stderr
    assert rating(sidecar) == "4"


def test_a_rating_is_seen_in_a_large_picture_and_before_any_was_scored(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    packet = DARKTABLE.replace("RATING", "4").encode()
    picture = Image.new("RGB", (64, 64))
    picture.info["xmp"] = packet
    heif.from_pillow(picture).save(tmp_path / "a.heic")
    picture.save(tmp_path / "a.jpg", xmp=packet)
    # A process of its own: in this one a test before may have made Pillow read HEIF.
    script = (
        "import sys; from PIL import Image; from rali.pictures.embedded import embedded_rating;"
        "Image.MAX_IMAGE_PIXELS = 100;"  # from twice as many on, Pillow refuses
        "print([embedded_rating(path)[0].decode() for path in sys.argv[1:]])"
    )
    command = [sys.executable, "-c", script, tmp_path / "a.heic", tmp_path / "a.jpg"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{[packet.decode()] * 2}\n"


def test_a_rating_inside_the_picture_is_kept(photos: Path, run) -> None:
    exif = Image.Exif()
    exif[0x4746] = 5
    Image.new("RGB", (20, 30)).save(photos / "dark.jpg", exif=exif)
    packet = DARKTABLE.replace("RATING", "2").encode()
    Image.new("RGB", (20, 30)).save(photos / "grey.jpg", xmp=packet)
    result = run()
    assert "3 made, 0 changed, 0 as before; 2 keep a rating" in result.stderr
    names = ("dark", "grey", "light")
    assert [rating(photos / f"{name}.jpg.xmp") for name in names] == [None, None, "5"]


def test_a_rating_is_seen_wherever_a_file_holds_it(tmp_path: Path) -> None:
    packet = DARKTABLE.replace("RATING", "2").encode()
    Image.new("RGB", (20, 30)).save(tmp_path / "behind.png", exif=Image.Exif())
    data = (tmp_path / "behind.png").read_bytes()
    body = b"iTXtXML:com.adobe.xmp\0\0\0\0\0" + packet
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    (tmp_path / "behind.png").write_bytes(data[:-12] + chunk + data[-12:])  # before IEND
    assert embedded_rating(tmp_path / "behind.png") == (packet, False)

    tifffile = pytest.importorskip("tifffile")
    tags = [(700, "B", len(packet), packet, True), (18246, "H", 1, 4, True)]
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 9, 3), np.float32), extratags=tags)
    with pytest.raises(UnidentifiedImageError):
        Image.open(tmp_path / "a.tif")
    assert embedded_rating(tmp_path / "a.tif") == (packet, True)


def test_only_the_head_of_a_jpeg_is_read_for_its_rating(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x4746] = 5
    Image.effect_noise((800, 800), 99).save(tmp_path / "a.jpg", exif=exif)
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[:2000] + b"\xff\xda\0\2" * 101)  # scans by the hundred
    assert embedded_rating(tmp_path / "a.jpg") == (b"", True)


def test_pictures_that_are_no_files_get_none(photos: Path, run, tmp_path: Path) -> None:
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as whole:
        whole.write(photos / "dark.jpg", "dark.jpg")
    result = run(source=archive)
    assert "1 pictures are no files of their own and get none" in result.stderr
    assert "0 restored, 0 deleted" in run("--undo", source=archive).stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--xmp", "--stars", "1,2,3"], "four scores that rise"),
        (["--xmp", "--stars", "1,2,2,3"], "four scores that rise"),
        (["--xmp", "--stars", "1,2,nan,3"], "four scores that rise"),
        (["--xmp", "--where", "score > 3"], "leave --where"),
        (["--xmp", "--undo", "--output", "rows.csv"], "--undo scores nothing"),
        (["--undo"], "are for --xmp"),
    ],
)
def test_options_that_do_not_go_together(
    photos: Path, model: str, options: list[str], sentence: str
) -> None:
    result = CliRunner().invoke(app, [str(photos), "-m", model, *options])
    assert result.exit_code and sentence in str(result.exception)
    assert not list(photos.glob("*.xmp"))


def test_stars_need_scores_from_1_to_5(photos: Path, tmp_path: Path) -> None:
    other = str(write_model(tmp_path / "other.onnx", score_range=[0, 100]))
    result = CliRunner().invoke(app, [str(photos), "-m", other, "--xmp"])
    assert "from 0 to 100" in str(result.exception)
    result = CliRunner().invoke(app, [str(photos), "-m", other, "--xmp", "--stars", "1,2,3,4"])
    assert result.exit_code == 0


def program(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"{name} is not installed: apt-get install {name}")


def test_exiftool_reads_and_edits_them(photos: Path, run) -> None:
    exiftool = program("exiftool")
    run()

    def read(name: str) -> dict[str, str]:
        command = [exiftool, "-j", "-G1", "-validate", "-warning", str(photos / name)]
        shown = subprocess.run([*command, "-XMP:all"], capture_output=True, text=True, check=True)
        return json.loads(shown.stdout)[0]

    found = read("light.jpg.xmp")
    assert found["XMP-xmp:Rating"] == 5
    assert found["XMP-rali:Score"] == pytest.approx(4.431, abs=0.01)
    assert found["ExifTool:Validate"] == "OK"
    subprocess.run([exiftool, "-q", "-overwrite_original", "-XMP:Rating=2",
                    str(photos / "dark.jpg.xmp")], check=True)  # fmt: skip
    again = run("--stars", "1.1,1.2,1.3,1.4")
    assert "0 made, 1 changed, 2 as before; 1 keep a rating" in again.stderr
    assert rating(photos / "dark.jpg.xmp") == "2" and rating(photos / "grey.jpg.xmp") == "5"


@pytest.mark.slow
def test_darktable_reads_the_stars(photos: Path, run, tmp_path: Path) -> None:
    darktable, exiftool = program("darktable-cli"), program("exiftool")
    run()
    for name, stars in (("dark", 1), ("light", 5)):
        made = tmp_path / f"{name}.jpg"
        core = ["--core", "--library", ":memory:", "--configdir", str(tmp_path / "config")]
        picture = photos / f"{name}.jpg"
        command = [darktable, str(picture), f"{picture}.xmp", str(made), *core]
        subprocess.run(command, check=True, capture_output=True)
        shown = subprocess.run([exiftool, "-s3", "-XMP:Rating", str(made)], capture_output=True)
        assert int(shown.stdout) == stars
