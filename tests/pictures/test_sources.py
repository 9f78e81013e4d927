"""Where pictures come from: the same photographs through every source, and damaged sources."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rali import Scorer
from rali.errors import InputError, PictureError
from rali.pictures import folders, remote, tries, zips
from rali.pictures.entry import Entry
from rali.pictures.read import open_picture
from rali.pictures.seen import Seen
from rali.pictures.sources import find_entries

NAMES = ["a2.jpg", "a10.png", "deep/b.bmp", "deep/c d.webp"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, photographs: dict[str, np.ndarray]) -> Path:
    folder = tmp_path_factory.mktemp("sources") / "photos"
    (folder / "deep").mkdir(parents=True)
    for name, pixels in zip(NAMES, photographs.values(), strict=False):
        Image.fromarray(pixels).resize((160, 120)).save(folder / name)
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture(scope="module")
def scores(photos: Path) -> dict[str, float]:
    return {name: Scorer()(photos / name) for name in NAMES}


def pack(target: Path, photos: Path, mode: str = "w") -> Path:
    """The photographs as webdataset packs them, with a text beside each."""
    with tarfile.open(target, mode) as archive:  # type: ignore[call-overload]
        for name in NAMES:
            archive.add(photos / name, name)
            add(archive, f"{name}.json", b"{}")
    return target


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def zipped(target: Path, photos: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for index, name in enumerate(NAMES):
            archive.write(
                photos / name, name, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[index % 2]
            )
            archive.writestr(f"{name}.json", "{}")
    return target


def csv_file(target: Path, photos: Path, column: str = "image") -> Path:
    with target.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["score", column], *(["3", f"photos/{name}"] for name in NAMES)])
    return target


def cells(photos: Path) -> list[dict[str, Any]]:
    return [{"bytes": (photos / name).read_bytes(), "path": name} for name in NAMES]


def parquet_file(target: Path, columns: dict[str, list[Any]], rows: int = 3) -> Path:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table(columns), target, row_group_size=rows)
    return target


def keys(*sources: str | Path, **options: Any) -> list[str]:
    return [entry.key for entry in find_entries(sources, **options)]


def errors(*sources: str | Path, **options: Any) -> dict[str, str]:
    """The reason of each picture that cannot be opened, by its key."""
    found = {}
    for entry in find_entries(sources, **options):
        try:
            open_picture(entry)
        except PictureError as error:
            found[entry.key] = str(error)
    return found


class Server(BaseHTTPRequestHandler):
    """Files of a folder, and paths that fail in the ways that servers do."""

    folder: Path
    asked: dict[str, int]

    def do_GET(self) -> None:
        asked = self.asked[self.path] = self.asked.get(self.path, 0) + 1
        if self.path.startswith("/hang"):
            time.sleep(3)
            return
        if self.path.startswith("/busy") and asked < 3:
            self.send_error(503)
            return
        if self.path.startswith("/cut"):
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b"\xff\xd8\xff" + bytes(1000))
            return
        if self.path.startswith("/endless"):
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(64):
                    self.wfile.write(bytes(1 << 20))
            except OSError:
                pass
            return
        if self.path.startswith("/forbidden"):
            self.send_error(403)
            return
        name = self.path.removeprefix("/busy").split("?")[0].lstrip("/").replace("%20", " ")
        place = self.folder / name
        if place.is_dir():
            data = "".join(f'<a href="{each.name}">x</a>' for each in place.iterdir()).encode()
        elif place.is_file():
            data = place.read_bytes()
        else:
            self.send_error(404)
            return
        first, _, last = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        self.send_response(206 if last else 200)
        if last:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            data = data[int(first) : int(last) + 1]
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server(photos: Path) -> Iterator[str]:
    pytest.importorskip("aiohttp")
    handler = type("Handler", (Server,), {"folder": photos.parent, "asked": {}})
    serving = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_address[1]}"
    serving.shutdown()
    serving.server_close()


# --- the same photographs through every source ---------------------------------------------------


def as_dataset(target: Path, photos: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"n": [1, 2, 3, 4], "photo": cells(photos)})
    rows.cast_column("photo", datasets.Image()).save_to_disk(target)
    return target


def as_json(target: Path, photos: Path) -> Path:
    """One row of each kind: a path, a data URL, bytes beside a path, a path in a cell."""
    held = [base64.b64encode((photos / name).read_bytes()).decode() for name in NAMES]
    rows = [
        f"photos/{NAMES[0]}",
        f"data:image/png;base64,{held[1]}",
        {"bytes": None, "path": f"photos/{NAMES[2]}"},
        {"bytes": held[3], "path": "x"},
    ]
    target.write_text("".join(json.dumps({"image": row}) + "\n" for row in rows))
    return target


MAKERS: dict[str, Callable[[Path, Path], Path]] = {
    "s.zip": zipped,
    "s.tar": pack,
    "s.tar.gz": lambda to, photos: pack(to, photos, "w:gz"),
    "s.tar.xz": lambda to, photos: pack(to, photos, "w:xz"),
    "s.csv": csv_file,
    "s.jsonl": as_json,
    "paths.parquet": lambda to, photos: parquet_file(to, {"path": [f"photos/{n}" for n in NAMES]}),
    "saved": as_dataset,
}  # fmt: skip


@pytest.fixture(scope="module")
def places(photos: Path) -> dict[str, Path]:
    return {name: make(photos.parent / name, photos) for name, make in MAKERS.items()}


def through(entries: Any) -> dict[str, float]:
    found = {}
    for result in Scorer().score_many(entries):
        assert result.error is None, result
        found[result.source.key] = result.score
    return found


@pytest.mark.parametrize("name", MAKERS)
def test_every_source_gives_the_same_scores(
    places: dict[str, Path], scores: dict[str, float], name: str
) -> None:
    entries = find_entries([places[name]])
    assert list(through(entries).values()) == list(scores.values())
    assert entries.count in (None, 4)
    again = [pickle.loads(pickle.dumps(entry)) for entry in entries]  # iterated a second time
    assert list(through(again).values()) == list(scores.values())
    assert all(len(pickle.dumps(entry)) < 1000 for entry in entries)


@pytest.mark.parametrize("kind", ["bytes", "cells"])
def test_pictures_inside_parquet(photos: Path, scores: dict[str, float], kind: str) -> None:
    held: list[Any] = cells(photos)
    column = held if kind == "cells" else [each["bytes"] for each in held]
    table = parquet_file(photos.parent / f"{kind}.parquet", {"n": [1, 2, 3, 4], "image": column})
    pictures = {f"{table}#{row}": scores[name] for row, name in enumerate(NAMES)}
    assert through(find_entries([table])) == pictures


def test_keys_lead_back(photos: Path, places: dict[str, Path], monkeypatch: Any) -> None:
    monkeypatch.chdir(photos.parent)
    assert keys("photos", recursive=True) == [f"photos/{name}" for name in NAMES]
    assert keys("photos") == ["photos/a2.jpg", "photos/a10.png"]
    assert keys("./s.zip") == [f"s.zip/{name}" for name in NAMES]
    assert keys("s.tar.gz") == [f"s.tar.gz/{name}" for name in NAMES]
    assert keys("s.csv") == [f"photos/{name}" for name in NAMES]
    assert keys("saved") == [f"saved#{row}" for row in range(4)]
    assert keys("photos/*.png", "photos/a*") == ["photos/a10.png", "photos/a2.jpg"]
    assert keys("photos/**/*.webp", "photos/*.no") == ["photos/deep/c d.webp", "photos/*.no"]
    once = keys("s.csv", "photos/a2.jpg", "photos", "s.tar", "s.tar")
    assert len(once) == len(set(once)) == 8
    assert find_entries(["photos", "s.zip"], recursive=True).count == 8


def opened(entry: Entry) -> int:
    return int(open_picture(entry).astype(np.int64).sum())


def test_entries_are_opened_in_other_processes(photos: Path, places: dict[str, Path]) -> None:
    entries = list(find_entries([photos, *places.values()], recursive=True))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(opened, entries, chunksize=3) == [opened(entry) for entry in entries]


# --- lists ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["\n", "\r\n", "\0"])
def test_lists(photos: Path, places: dict[str, Path], mark: str, tmp_path: Path) -> None:
    given = [str(photos / NAMES[0]), str(places["s.zip"]), str(photos / "gone.jpg"), str(photos)]
    (tmp_path / "list.txt").write_bytes(mark.join(given).encode())
    wanted = [given[0], *keys(places["s.zip"]), given[2], str(photos / NAMES[1])]
    assert keys(f"@{tmp_path / 'list.txt'}") == wanted
    code = "from rali.pictures.sources import *; e = find_entries(['-'])\n" + (
        "print(*[x.key for x in e], *[x.key for x in e], sep='|')"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], input=mark.join(given).encode(), capture_output=True
    )
    assert run.stdout.decode().strip().split("|") == 2 * wanted, run.stderr


def test_a_list_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"The list .*none.txt cannot be read: No such file"):
        find_entries([f"@{tmp_path / 'none.txt'}"])
    (tmp_path / "@x.jpg").touch()
    assert keys(tmp_path / "@x.jpg") == [str(tmp_path / "@x.jpg")]


# --- tables --------------------------------------------------------------------------------------


def test_columns(photos: Path, tmp_path: Path) -> None:
    table = csv_file(photos.parent / "other.csv", photos, "picture")
    with pytest.raises(InputError, match=r"it has: score, picture. Say which .* --column"):
        find_entries([table])
    with pytest.raises(InputError, match="no column 'x'"):
        find_entries([table], column="x")
    with pytest.raises(InputError, match=r"A column \(x\) is for tables and data sets"):
        find_entries([photos], column="x")
    assert len(keys(table, column="picture")) == 4
    with pytest.raises(InputError, match="No such file"):
        find_entries([tmp_path / "none.csv"])
    with pytest.raises(InputError, match="semicolons"):
        (tmp_path / "s.csv").write_text("image;score\na;1\n")
        find_entries([tmp_path / "s.csv"])


def test_broken_rows_are_rows(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    rows = b"score,image\n1,\n2\n" + b"".join(b"3,gone%d.png\n" % n for n in range(3000))
    table.write_bytes(rows + b"4,caf\xe9.png\n5,x.png\n")
    found = errors(table)
    assert list(found)[:2] == [f"{table}#0", f"{table}#1"] and str(table) in found
    assert "nothing in column 'image'" in found[f"{table}#1"]
    assert "because of damage" in found[str(table)] and "UTF-8" in found[str(table)]
    lines = tmp_path / "t.jsonl"
    lines.write_text('{"image": "gone.png"}\n{"image": 3}\n{broken\n\n[]\n{"image": "data:,x"}\n')
    found = errors(lines)
    assert [key.rpartition("/")[2] for key in found] == [
        "gone.png", *(f"t.jsonl#{row}" for row in (1, 2, 3, 4)),
    ]  # fmt: skip
    assert "is not JSON" in found[f"{lines}#2"]


def test_damaged_parquet(photos: Path, tmp_path: Path) -> None:
    held = [{"bytes": os.urandom(5000), "path": "x"}, None, *cells(photos)]
    table = parquet_file(tmp_path / "t.parquet", {"image": held}, rows=2)
    assert list(errors(table)) == [f"{table}#0", f"{table}#1"]
    data = bytearray(table.read_bytes())
    data[100:3000] = bytes(2900)  # pages of the first group
    table.write_bytes(data)
    assert len(errors(table)) >= 1 and len(keys(table)) == 6
    table.write_bytes(data[:-9])
    with pytest.raises(InputError, match="cannot be read as a Parquet file"):
        find_entries([table])


# --- archives ------------------------------------------------------------------------------------


def test_names_in_archives_are_only_names(photos: Path, tmp_path: Path) -> None:
    data = (photos / NAMES[0]).read_bytes()
    names = ["../up.jpg", "/etc/root.jpg", "./a.jpg", ".hidden/x.jpg", "._a.jpg", "d/"]
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        for name in [*names[:5], "./a.jpg"]:
            add(archive, name, data)
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as packed:
        for name in names:
            packed.writestr(name, data)
        with pytest.warns(UserWarning, match="Duplicate"):
            packed.writestr("./a.jpg", data)
    before = sorted(tmp_path.rglob("*"))
    for place in (tmp_path / "t.tar", tmp_path / "t.zip"):
        found = keys(place)
        assert found[:3] == [f"{place}/../up.jpg", f"{place}//etc/root.jpg", f"{place}/./a.jpg"]
        assert found[3].startswith(f"{place}/./a.jpg@") and len(set(found)) == len(found)
    assert errors(tmp_path / "t.zip") == {}
    assert errors(tmp_path / "t.tar") == {
        f"{tmp_path / 't.tar'}/link.jpg": "This is a link to /etc/passwd, and links are not "
        "followed."
    }
    assert sorted(tmp_path.rglob("*")) == before  # nothing is extracted


def test_a_tga_is_known_by_its_name_in_an_archive(photos: Path, tmp_path: Path) -> None:
    Image.open(photos / NAMES[0]).save(tmp_path / "x.tga")
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as packed:
        packed.write(tmp_path / "x.tga", "x.tga")
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        archive.add(tmp_path / "x.tga", "x.tga")
    assert errors(tmp_path, tmp_path / "t.zip", tmp_path / "t.tar") == {}


def test_a_cut_or_damaged_tar_says_so(photos: Path, tmp_path: Path) -> None:
    whole = pack(tmp_path / "t.tar", photos).read_bytes()
    with tarfile.open(tmp_path / "t.tar") as archive:
        places = {member.name: member for member in archive}
    second = places[NAMES[1]]
    for cut in (second.offset_data + 1000, second.offset + 100, second.offset, 300):
        (tmp_path / "t.tar").write_bytes(whole[:cut])
        found = errors(tmp_path / "t.tar")
        assert f"The archive {tmp_path / 't.tar'} is damaged behind byte" in found.pop(
            str(tmp_path / "t.tar")
        )
        assert list(found.values()) == (
            ["The archive ends inside this picture."] if cut > second.offset_data else []
        )
        assert len(keys(tmp_path / "t.tar")) == (
            3 if cut > second.offset_data else 2 - (cut == 300)
        )
    broken = bytearray(whole)
    broken[second.offset : second.offset + 512] = os.urandom(512)
    (tmp_path / "t.tar").write_bytes(broken)
    assert len(keys(tmp_path / "t.tar")) == 2 and len(errors(tmp_path / "t.tar")) == 1
    (tmp_path / "t.tar").write_bytes(whole + whole)
    assert len(keys(tmp_path / "t.tar")) == 8  # appended to each other, as `cat` does
    (tmp_path / "t.tar").write_bytes(b"")
    assert list(errors(tmp_path / "t.tar")) == [str(tmp_path / "t.tar")]
    assert list(errors(tmp_path / "none.tar")) == [str(tmp_path / "none.tar")]


def test_a_cut_packed_tar_says_so(photos: Path, tmp_path: Path) -> None:
    whole = pack(tmp_path / "t.tar.gz", photos, "w:gz").read_bytes()
    for cut in (len(whole) // 2, len(whole) - 4, 10):
        (tmp_path / "t.tar.gz").write_bytes(whole[:cut])
        assert str(tmp_path / "t.tar.gz") in errors(tmp_path / "t.tar.gz")
    # A header of two gigabytes of zeros must not be read into memory.
    bomb = tarfile.TarInfo("pax")
    bomb.type, bomb.size = b"x", 2**31
    with gzip.open(tmp_path / "t.tar.gz", "wb", 1) as file:
        file.write(bomb.tobuf(tarfile.USTAR_FORMAT))
    assert "2,147,483,648 bytes" in errors(tmp_path / "t.tar.gz")[str(tmp_path / "t.tar.gz")]


def test_damaged_zips_and_bombs(photos: Path, tmp_path: Path, monkeypatch: Any) -> None:
    place = zipped(tmp_path / "t.zip", photos)
    whole = place.read_bytes()
    place.write_bytes(whole[:-30])
    assert "nothing in it is scored" in errors(place)[str(place)]
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        second = archive.getinfo(NAMES[1])
    broken = bytearray(whole)
    broken[second.header_offset + 200 : second.header_offset + 300] = bytes(100)
    place.write_bytes(broken)
    assert list(errors(place)) == [f"{place}/{NAMES[1]}"]
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(8_000_000))
        archive.write(photos / NAMES[0], NAMES[0])
    monkeypatch.setattr(zips, "MAX_BYTES", 1_000_000)
    assert "8,000,000 bytes" in errors(place)[f"{place}/bomb.png"] and len(errors(place)) == 1
    place.write_bytes(b"xx" + whole[2:])
    assert list(errors(place)) == [f"{place}/{NAMES[0]}"]


# --- addresses -----------------------------------------------------------------------------------


def test_addresses(server: str, photos: Path, places: dict[str, Path], scores: Any) -> None:
    addresses = [f"{server}/photos/{name}".replace(" ", "%20") for name in NAMES]
    assert list(through(find_entries(addresses)).values()) == list(scores.values())
    assert keys(f"{server}/photos/") == [f"{server}/photos/a2.jpg", f"{server}/photos/a10.png"]
    for name in ("s.zip", "s.tar", "s.tar.gz", "s.csv", "paths.parquet"):
        assert list(through(find_entries([f"{server}/{name}"])).values()) == list(scores.values())
    assert keys(f"{server}/photos/a2.jpg?size=9") == [f"{server}/photos/a2.jpg?size=9"]


def test_what_cannot_be_fetched_is_a_row(server: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(remote, "_SECONDS", {"total": 1, "sock_connect": 1, "sock_read": 0.3})
    monkeypatch.setattr(remote, "MAX_BYTES", 1 << 20)
    monkeypatch.setattr(tries, "WAITS", (0.01, 0.01))
    wanted = {
        "none.jpg": "no such file",
        "forbidden.jpg": "answered 403",
        "hang.jpg": "not answer in time",
        "cut.jpg": "",
        "endless.jpg": "at most 1,048,576",
    }
    found = errors(*(f"{server}/{name}" for name in wanted), "http://127.0.0.1:9/x.jpg")
    assert len(found) == len(wanted) + 1
    for name, text in wanted.items():
        assert text in found[f"{server}/{name}"], found
    assert errors(f"{server}/busy/photos/a2.jpg") == {}  # the third answer is the picture
    assert "nosuch" in errors("nosuch://bucket/a.jpg")["nosuch://bucket/a.jpg"]


def test_object_stores(photos: Path, scores: Any, places: dict[str, Path]) -> None:
    store = pytest.importorskip("fsspec").filesystem("memory")
    for name in NAMES:
        store.pipe(f"/bucket/photos/{name}", (photos / name).read_bytes())
    for name in ("s.tar", "s.zip", "s.tar.gz", "s.csv", "paths.parquet", "s.jsonl"):
        store.pipe(f"/bucket/{name}", places[name].read_bytes())
    wanted = [f"memory://bucket/photos/{name}" for name in NAMES]
    assert keys("memory://bucket/photos", recursive=True) == wanted
    assert keys("memory://bucket/photos/") == wanted[:2]
    assert keys("memory://bucket/photos/*.jpg") == wanted[:1]
    assert keys("memory://bucket/s.csv") == wanted
    for name in ("s.tar", "s.zip", "s.tar.gz", "s.csv", "paths.parquet", "s.jsonl", "photos"):
        entries = list(find_entries([f"memory://bucket/{name}"], recursive=True))  # one shared file
        assert list(through(entries).values()) == list(scores.values()), name
    assert list(errors("memory://bucket/none.jpg")) == ["memory://bucket/none.jpg"]


# --- data sets -----------------------------------------------------------------------------------


def test_the_hub(photos: Path, tmp_path: Path, monkeypatch: Any, scores: Any) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for name in NAMES[:2]:  # the library prefers a folder of this name to the hub
        for split in ("train", "test"):
            target = tmp_path / "owner/name" / split / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photos / name, target)
    monkeypatch.chdir(tmp_path)
    found = through(find_entries(["hf://datasets/owner/name"]))
    assert sorted(found) == [
        f"hf://datasets/owner/name/{split}#{row}" for split in ("test", "train") for row in (0, 1)
    ]
    assert sorted(found.values()) == sorted(2 * [scores[name] for name in NAMES[:2]])
    with pytest.raises(InputError, match="no column 'x'"):
        find_entries(["hf://datasets/owner/name"], column="x")


def test_a_configuration_of_a_data_set(photos: Path, tmp_path: Path, monkeypatch: Any) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for config, name in (("small", NAMES[0]), ("large", NAMES[1])):
        target = tmp_path / "owner/several" / config / "train" / name
        target.parent.mkdir(parents=True)
        shutil.copy(photos / name, target)
    configs = "".join(f"- config_name: {each}\n  data_dir: {each}\n" for each in ("small", "large"))
    (tmp_path / "owner/several/README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    monkeypatch.chdir(tmp_path)
    address = "hf://datasets/owner/several"
    found = {key: size for config in ("small", "large") for key, size in sizes(address, config)}
    assert found == {
        f"{address}:small/train#0": (photos / NAMES[0]).stat().st_size,
        f"{address}:large/train#0": (photos / NAMES[1]).stat().st_size,
    }
    for wrong in ("", ":medium"):
        with pytest.raises(InputError) as raised:
            find_entries([address + wrong])
        assert str(raised.value) == (
            f"The data set {address} has the configurations small, large. Name one: {address}:small"
        )


def sizes(address: str, config: str) -> list[tuple[str, int]]:
    entries = find_entries([f"{address}:{config}"])
    return [(entry.key, len(entry.picture.read())) for entry in entries]


# --- folders -------------------------------------------------------------------------------------


def test_large_folders_are_sorted_outside_memory(monkeypatch: Any) -> None:
    names = [f"p{number}é.jpg" for number in range(500)]
    shuffled = [names[index] for index in np.random.default_rng(0).permutation(500)]
    monkeypatch.setattr(folders, "_RUN", 64)
    monkeypatch.setattr(folders, "_BLOCK", 100)
    assert list(folders.in_order(shuffled)) == names


def test_a_folder_that_vanishes_is_a_row(tmp_path: Path) -> None:
    entries = find_entries([tmp_path / "a", tmp_path / "x.jpg"])
    (tmp_path / "b").mkdir()
    entries = find_entries([tmp_path / "b", tmp_path / "x.jpg"])
    (tmp_path / "b").rmdir()
    found = {entry.key: entry for entry in entries}
    with pytest.raises(PictureError, match="cannot be listed: No such file"):
        open_picture(found[str(tmp_path / "b")])
    with pytest.raises(InputError, match="There are no pictures in"):
        (tmp_path / "b").mkdir()
        list(find_entries([tmp_path / "b"]))


def test_seen() -> None:
    seen = Seen()
    assert all(seen.add(f"{number}") for number in range(5000))
    assert not any(seen.add(f"{number}") for number in range(5000))
