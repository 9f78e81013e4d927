"""What is read over a network that fails: once, and for ever."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flaky_server import Flaky, flaky_server
from PIL import Image

from rali.errors import InputError, PictureError
from rali.pictures import streamed, tries
from rali.pictures.read import open_picture
from rali.pictures.sources import find_entries

pytest.importorskip("aiohttp")
NAMES = ["a.png", "b.png", "c.png"]
SOURCES = ["s.tar", "s.tar.gz", "s.zip", "s.csv", "s.jsonl", "paths.parquet", "pictures.parquet"]
FAULTS = ["busy", "empty", "drop"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "WAITS", (0.01, 0.01))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photographs: dict[str, np.ndarray]) -> Path:
    """The same three photographs in every kind of source."""
    folder = tmp_path_factory.mktemp("remote")
    pictures = {}
    for name, pixels in zip(NAMES, photographs.values(), strict=False):
        Image.fromarray(pixels).resize((80, 60)).save(folder / name)
        pictures[name] = (folder / name).read_bytes()
    for name, mode in (("s.tar", "w"), ("s.tar.gz", "w:gz")):
        with tarfile.open(folder / name, mode) as archive:  # type: ignore[call-overload]
            for member, data in pictures.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    with zipfile.ZipFile(folder / "s.zip", "w") as packed:
        for member, data in pictures.items():
            packed.writestr(member, data)
    with (folder / "s.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image"], *([name] for name in NAMES)])
    (folder / "s.jsonl").write_text("".join(f'{{"image": "{name}"}}\n' for name in NAMES))
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"image": NAMES}), folder / "paths.parquet")
    cells = pa.table({"image": list(pictures.values())})
    parquet.write_table(cells, folder / "pictures.parquet")
    return folder


@pytest.fixture
def server(folder: Path) -> Iterator[Flaky]:
    with flaky_server(folder) as flaky:
        yield flaky


def sums(*sources: str, **options: Any) -> list[int]:
    """The sum of each picture's pixels."""
    entries = find_entries(sources, **options)
    return [int(open_picture(entry).astype(np.int64).sum()) for entry in entries]


@pytest.fixture(scope="module")
def wanted(folder: Path) -> list[int]:
    return sums(*(str(folder / name) for name in NAMES))


@pytest.mark.parametrize("fault", ["cut", *FAULTS])
@pytest.mark.parametrize("name", SOURCES)
def test_a_source_that_fails_twice_is_read(
    server: Flaky, wanted: list[int], name: str, fault: str
) -> None:
    server.faults[name] = [fault, fault]  # HEAD and GET fail together
    for picture in NAMES:
        server.faults[picture] = [fault, fault]
    assert sums(f"{server.url}/{name}") == wanted
    assert not server.faults[name]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SOURCES)
def test_a_source_that_fails_for_ever_is_one_sentence(server: Flaky, name: str, fault: str) -> None:
    server.faults[name] = [f"always {fault}"]
    with pytest.raises(InputError) as raised:
        sums(f"{server.url}/{name}")
    text = str(raised.value)
    assert f"{server.url}/{name} cannot be read" in text and "\n" not in text
    assert ("answered 503" in text) == (fault == "busy")
    assert text.endswith(".") and not text.endswith("..")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", [*SOURCES[:3], "pictures.parquet", *NAMES[:1]])
def test_a_picture_that_fails_for_ever_is_a_row(server: Flaky, name: str, fault: str) -> None:
    entries = list(find_entries([f"{server.url}/{name}"]))
    server.faults[name] = [f"always {fault}"]
    streamed._known.clear()  # what the walk has read
    for entry in entries:
        with pytest.raises(PictureError) as raised:
            open_picture(entry)
        assert ("answered 503" in str(raised.value)) == (fault == "busy")
        assert "damaged" not in str(raised.value)


def test_what_cannot_get_better_is_not_tried_again(server: Flaky) -> None:
    for name in ("none.tar", "none.csv", "none.zip", "none/"):
        with pytest.raises(InputError, match="There is no such file"):
            sums(f"{server.url}/{name}")
    asked = [one for one in server.asked if "none.tar" in one or "none.csv" in one]
    assert asked == ["GET none.tar", "HEAD none.csv", "GET none.csv"]
    with pytest.raises(InputError, match="Cannot connect to host"):
        sums("http://127.0.0.1:9/s.tar")


def test_folders_and_lists(server: Flaky, folder: Path, wanted: list[int]) -> None:
    (folder / "list.txt").write_text(f"{server.url}/b.png\n{server.url}/s.tar\n{server.url}/s.zip")
    server.faults["list.txt"] = ["busy", "busy"]
    assert sums(f"@{server.url}/list.txt") == [wanted[1], *wanted, *wanted]
    server.faults[""] = ["busy", "drop"]
    assert sums(f"{server.url}/") == wanted
    server.faults[""] = ["always busy"]
    with pytest.raises(InputError, match=r"The folder .* cannot be listed: The server answered"):
        sums(f"{server.url}/")
    # In a list the others are read all the same.
    server.faults["s.tar"] = ["always busy"]
    entries = list(find_entries([f"@{server.url}/list.txt"]))
    assert [entry.key.rpartition("/")[2] for entry in entries] == ["b.png", "s.tar", *NAMES]
    with pytest.raises(PictureError, match=r"The archive .*s.tar cannot be read: The server answ"):
        open_picture(entries[1])
    server.faults["list.txt"] = ["always drop"]
    with pytest.raises(InputError, match=r"The list .*list.txt cannot be read: "):
        sums(f"@{server.url}/list.txt")


def test_listing_a_tar_transfers_it_once(server: Flaky, tmp_path: Path) -> None:
    server.folder = tmp_path
    with tarfile.open(tmp_path / "large.tar", "w") as archive:
        for number in range(20):
            info = tarfile.TarInfo(f"{number}.png")
            info.size = 1_200_000
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    assert len(list(find_entries([f"{server.url}/large.tar"]))) == 20
    assert server.sent < 1.5 * (tmp_path / "large.tar").stat().st_size


def test_a_picture_in_a_zip_is_one_request(server: Flaky, folder: Path, wanted: list[int]) -> None:
    entries = list(find_entries([f"{server.url}/s.zip"]))
    server.asked.clear()
    server.sent = 0
    assert [int(open_picture(entry).astype(np.int64).sum()) for entry in entries] == wanted
    assert [one.partition("=")[0] for one in server.asked] == 3 * ["GET s.zip bytes"]
    sizes = [(folder / name).stat().st_size for name in NAMES]
    assert server.sent < sum(sizes) + 3 * 1200
    padded = zipfile.ZipInfo("a.png")
    padded.extra = b"\x35\xd9" + (4000).to_bytes(2, "little") + bytes(4000)  # as zipalign does
    with zipfile.ZipFile(folder / "padded.zip", "w") as archive:
        archive.writestr(padded, (folder / "a.png").read_bytes())
        archive.filelist[0].extra = b""  # in the directory
    assert sums(f"{server.url}/padded.zip") == wanted[:1]


def test_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"image": ["a.png"]})
    tried: list[str] = []

    def load(path: str, **options: Any) -> Any:
        tried.append(path)
        if len(tried) < 3:
            raise ConnectionError("Couldn't reach it on the Hub")
        return rows

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert find_entries(["hf://datasets/owner/tried"]).count == 1 and len(tried) == 3


def test_the_command(server: Flaky, tmp_path: Path) -> None:
    server.faults["s.tar"] = ["always busy"]
    command = [sys.executable, "-m", "rali", "score", f"{server.url}/s.tar", "-o", "x.csv"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.splitlines() == [
        f"rali: The archive {server.url}/s.tar cannot be read: The server answered 503 (Service "
        "Unavailable)."
    ]
