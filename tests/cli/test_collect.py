"""`rali score --copy-to` and `--move-to`: every picture of a row, wherever it lies."""

from __future__ import annotations

import base64
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from rali.cli._collect import RECORD, _name
from rali.cli.score import score
from rali.errors import InputError, PictureError
from rali.pictures.remote import Fetched
from rali.pictures.zips import ZipMember
from tiny_onnx import write_model

app = typer.Typer()
app.command()(score)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_model(tmp_path / "m" / "onnx" / "model.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(level: int, form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (level, level, level)).save(buffer, form)
    return buffer.getvalue()


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["-m", "m", *arguments])
    if code == 2:
        assert isinstance(done.exception, InputError), (done.exception, done.output)
        return str(done.exception)
    assert done.exit_code == code, (done.exception, done.output)
    return done.stderr


def held(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.name[0] != "."}


def make_zip() -> dict[str, bytes]:
    with zipfile.ZipFile("s.zip", "w") as archive:
        archive.writestr("deep/a.png", picture(1))
        archive.writestr("other/a.png", picture(2))
        archive.writestr("b.jpg", picture(3, "JPEG"))
    return {"a.png": picture(1), "a-2.png": picture(2), "b.jpg": picture(3, "JPEG")}


def make_tar() -> dict[str, bytes]:
    with tarfile.open("s.zip", "w:gz") as archive:  # its name is changed below
        for data in (picture(1), picture(2)):
            info = tarfile.TarInfo("a.png")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    Path("s.zip").rename("s.tar.gz")
    return {"a.png": picture(1), "a-2.png": picture(2)}


def make_parquet() -> dict[str, bytes]:
    pa = pytest.importorskip("pyarrow")
    cells = [picture(1), picture(2, "JPEG"), picture(3, "BMP")]
    pytest.importorskip("pyarrow.parquet").write_table(pa.table({"image": cells}), "t.parquet")
    return {"t-0.png": cells[0], "t-1.jpg": cells[1], "t-2.bmp": cells[2]}


def make_lines() -> dict[str, bytes]:
    url = "data:image/png;base64," + base64.b64encode(picture(1)).decode()
    cell = {"bytes": base64.b64encode(picture(2, "WEBP")).decode()}
    rows = [json.dumps({"image": each}) for each in (url, cell)]
    Path("t.jsonl").write_text("\n".join(rows))
    return {"t-0.png": picture(1), "t-1.webp": picture(2, "WEBP")}


def make_data_set() -> dict[str, bytes]:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image()})
    rows = datasets.Dataset.from_dict({"image": [{"bytes": picture(1)}]}, features=features)
    datasets.DatasetDict({"train": rows}).save_to_disk("saved")
    return {"train-0.png": picture(1)}


def make_list() -> dict[str, bytes]:
    make_zip()
    Path("f.png").write_bytes(picture(9))
    Path("list.txt").write_text("s.zip/deep/a.png\nf.png\ns.zip/other/a.png\n")
    return {"a.png": picture(1), "f.png": picture(9), "a-2.png": picture(2)}


def make_address() -> dict[str, bytes]:
    store = pytest.importorskip("fsspec").filesystem("memory")
    store.pipe("/collect/a.png", picture(1))
    return {"a.png": picture(1)}


SOURCES: dict[str, Callable[[], dict[str, bytes]]] = {
    "s.zip": make_zip,
    "s.tar.gz": make_tar,
    "t.parquet": make_parquet,
    "t.jsonl": make_lines,
    "saved": make_data_set,
    "@list.txt": make_list,
    "memory://collect/a.png": make_address,
}


@pytest.mark.parametrize("output", [[], ["-o", "s.csv"]], ids=["screen", "file"])
@pytest.mark.parametrize("source", SOURCES)
def test_pictures_are_written_out_of_what_holds_them(source: str, output: list[str]) -> None:
    wanted = SOURCES[source]()
    said = run(source, *output, "--copy-to", "best")
    assert held("best") == wanted and f"{len(wanted)} pictures copied to best." in said
    again = run(source, *output, "--copy-to", "best")
    assert held("best") == wanted and f"{len(wanted)} pictures copied to best." in again


def test_only_what_is_chosen_is_written_and_nothing_is_overwritten() -> None:
    make_zip()
    Path("best").mkdir()
    Path("best/b.jpg").write_bytes(b"mine")
    run("s.zip", "--sort", "best", "--top", "1", "--copy-to", "best")
    assert held("best") == {"b.jpg": b"mine", "b-2.jpg": picture(3, "JPEG")}
    line = json.loads(Path("best", RECORD).read_text())
    assert line["image"] == "s.zip/b.jpg" and line["to"] == "b-2.jpg" and not line["moved"]
    assert line["from"] == str(Path("s.zip/b.jpg").absolute())


def test_a_kill_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = make_zip()
    own, read = ZipMember.read, list[str]()

    def full(self: Any, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        done = CliRunner().invoke(app, ["-m", "m", "s.zip", "-o", "s.csv", "--copy-to", "best"])
    assert isinstance(done.exception, OSError) and not held("best")
    run("s.zip", "-o", "s.csv", "--copy-to", "best")
    Path("best/a-2.png").write_bytes(b"")  # reserved, then killed
    with Path("best", RECORD).open("ab") as record:
        record.write(b'{"image": "s.z')

    def counted(self: Any) -> bytes:
        read.append(self.name)
        return own(self)

    monkeypatch.setattr(ZipMember, "read", counted)
    run("s.zip", "-o", "s.csv", "--copy-to", "best")
    assert held("best") == wanted
    assert read == ["other/a.png"], "what is there already is not read again"
    Path("best/a.png").write_bytes(b"mine")
    run("s.zip", "-o", "s.csv", "--copy-to", "best")
    assert held("best") == {**wanted, "a.png": b"mine", "a-3.png": wanted["a.png"]}


@pytest.mark.parametrize(
    ("source", "name"),
    [("s.zip", "a-3.png"), ("t.parquet", "t-0-2.png"), ("saved", "train-0-2.png")],
)
def test_what_holds_a_picture_may_have_changed(
    source: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, own = SOURCES[source](), picture
    run(source, "--copy-to", "best")
    monkeypatch.setitem(globals(), "picture", lambda level, *form: own(255 - level, *form))
    SOURCES[source]()
    for _ in range(2):
        run(source, "--copy-to", "best")
        assert wanted.items() <= held("best").items() and held("best")[name] == own(254)
        assert len(held("best")) == 2 * len(wanted)


def test_a_file_that_is_gone_is_not_said_to_stay_in_an_archive() -> None:
    make_list()
    run("@list.txt", "-o", "s.csv")
    Path("f.png").unlink()
    said = run("@list.txt", "-o", "s.csv", "--move-to", "best", code=1)
    assert "0 pictures moved to best, 2 stay in their" in said and "1 cannot be read." in said


@pytest.mark.parametrize("source", sorted(SOURCES.keys() - {"@list.txt", "t.jsonl"}))
def test_moving_out_of_what_holds_pictures_is_refused_first(source: str) -> None:
    SOURCES[source]()
    refused = run(source, "-o", "s.csv", "--move-to", "best", code=2)
    assert source in refused and "rali removes nothing" in refused and "--copy-to" in refused
    assert not Path("best").exists() and not Path("s.csv").exists()


@pytest.mark.parametrize("source", ["@list.txt", "t.jsonl"])  # what they hold is known later
def test_moving_what_a_list_names_moves_the_files_alone(source: str) -> None:
    wanted = SOURCES[source]()
    said = run(source, "-o", "s.csv", "--move-to", "best", code=1)
    assert held("best") == {"f.png": wanted["f.png"]} if source == "@list.txt" else not held("best")
    assert "2 stay in their archives, tables or at their addresses (--copy-to copies them)" in said
    run(source, "-o", "s.csv", "--move-to", "best", code=1)


def test_what_cannot_be_read_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    make_address()
    Path("a.png").write_bytes(picture(1))
    Path("b.png").write_bytes(picture(2))
    Path("list.txt").write_text("memory://collect/a.png\na.png\nb.png\n")
    run("@list.txt", "-o", "s.csv")
    Path("b.png").unlink()

    def gone(self: Any) -> bytes:
        raise PictureError("The server answered 503 (no reason).")

    monkeypatch.setattr(Fetched, "read", gone)
    said = run("@list.txt", "-o", "s.csv", "--copy-to", "best", code=1)
    assert "1 pictures copied to best, 2 cannot be read." in said and set(held("best")) == {"a.png"}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("a.zip/x/y.jpg", "y.jpg"),
        ("a.tar/y.jpg@1536", "y.jpg"),
        ("a.zip/..\\..\\evil.jpg", "evil.jpg"),
        ('a.zip/what?<"1">.jpg', "what___1__.jpg"),
        ("file:a.zip/caf%E9.jpg", "caf_.jpg"),
        ("data/t.parquet#17", "t-17.png"),
        ("hf://datasets/o/n/train#3", "train-3.png"),
        ("https://example.org/p/y.jpg?width=3&x=/z.gif", "y.jpg"),
        ("https://example.org/picture/12", "12.png"),
        ("https://example.org/", "picture.png"),
        ("s3://bucket/t.parquet#17", "t-17.png"),
        (f"a.zip/{'é' * 300}.jpg", f"{'é' * 90}.jpg"),
    ],
)
def test_names(key: str, name: str) -> None:
    assert _name(key, picture(1)) == name
    assert len(os.fsencode(name)) < 255
