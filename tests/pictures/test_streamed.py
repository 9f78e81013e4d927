"""Tars at an address: how often a server is asked, and that whoever comes late gets his bytes."""

from __future__ import annotations

import io
import pickle
import random
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flaky_server import Flaky, flaky_server
from PIL import Image

from rali import Scorer
from rali.errors import InputError
from rali.pictures import streamed, tries
from rali.pictures.entry import Entry
from rali.pictures.sources import find_entries

pytest.importorskip("aiohttp")
COUNT = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tar of small pictures and long texts between them: 9 MB."""
    folder = tmp_path_factory.mktemp("streamed")
    draw = np.random.default_rng(0)
    with tarfile.open(folder / "s.tar", "w") as archive:
        for number in range(COUNT):
            file = io.BytesIO()
            Image.fromarray(draw.integers(0, 255, (30, 40, 3), np.uint8)).save(file, "PNG")
            for name, data in (
                (f"{number}.png", file.getvalue()),
                (f"{number}.txt", bytes(25_000)),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return folder


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flaky]:
    monkeypatch.setattr(tries, "WAITS", (0.01, 0.01))
    with flaky_server(folder) as flaky:
        yield flaky
    streamed._known.clear()


@pytest.fixture(scope="module")
def wanted(folder: Path) -> dict[str, bytes]:
    return {key.rpartition("/")[2]: data for key, data in read(find_entries([folder / "s.tar"]))}


def read(entries: Any) -> list[tuple[str, bytes]]:
    return [(entry.key, entry.picture.read()) for entry in entries]


def named(found: list[tuple[str, bytes]]) -> dict[str, bytes]:
    return {key.rpartition("/")[2]: data for key, data in found}


def test_scoring_a_tar_in_order_is_one_request(server: Flaky, folder: Path) -> None:
    results = list(Scorer(threads=2).score_many(find_entries([f"{server.url}/s.tar"])))
    assert len(results) == COUNT and all(result.error is None for result in results)
    assert server.asked == ["GET s.tar"]
    assert server.sent == (folder / "s.tar").stat().st_size


def test_a_worker_reads_its_groups_in_two_requests_each(
    server: Flaky, wanted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "_NEAR", 100_000)
    monkeypatch.setattr(streamed, "_PIECE", 10_000)  # no more is read ahead, however fast it comes
    entries = list(find_entries([f"{server.url}/s.tar"]))
    groups = [entries[start : start + 20] for start in range(0, COUNT, 40)]  # every second one
    streamed._known.clear()  # another process
    server.asked.clear()
    found = [pair for group in groups for pair in read(pickle.loads(pickle.dumps(group)))]
    assert named(found) == {key: wanted[key] for key in named(found)} and len(found) == 160
    assert len(server.asked) == 2 * len(groups) - 1  # the first begins where the file does


def test_pictures_in_any_order(server: Flaky, wanted: dict[str, bytes]) -> None:
    entries = list(find_entries([f"{server.url}/s.tar"]))
    random.Random(0).shuffle(entries)
    with ThreadPoolExecutor(4) as pool:
        data = list(pool.map(lambda entry: entry.picture.read(), entries))
    assert named(list(zip([entry.key for entry in entries], data, strict=True))) == wanted


def test_what_fell_out_of_memory_is_asked_for(
    server: Flaky, wanted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "_KEPT", 300_000)
    late: list[Entry] = []
    found = []
    for number, entry in enumerate(find_entries([f"{server.url}/s.tar"])):
        late.append(entry)
        if number % 30 == 29:
            found += read(late)  # the first of them are behind
            late.clear()
    assert named(found) == wanted
    assert len(server.gets("s.tar")) < COUNT


def test_two_walks_at_once(server: Flaky, wanted: dict[str, bytes]) -> None:
    entries = find_entries([f"{server.url}/s.tar"])
    found = [(read([one]), read([other])) for one, other in zip(entries, entries, strict=True)]
    assert named([pair for pairs, _ in found for pair in pairs]) == wanted
    assert len(server.asked) == 2


@pytest.mark.parametrize("fault", ["busy", "drop", "cut"])
def test_a_walk_goes_on_where_it_was(server: Flaky, wanted: dict[str, bytes], fault: str) -> None:
    server.faults["s.tar"] = [fault, fault]
    assert named(read(find_entries([f"{server.url}/s.tar"]))) == wanted
    server.faults["s.tar"] = ["cut", "always busy"]
    found = []
    with pytest.raises(InputError, match=r"cannot be read behind byte [\d,]+: The server answered"):
        for entry in find_entries([f"{server.url}/s.tar"]):
            found.append(entry)
    assert 0 < len(found) < 200


def test_a_server_without_ranges(server: Flaky, wanted: dict[str, bytes]) -> None:
    server.ranges = False
    assert named(read(find_entries([f"{server.url}/s.tar"]))) == wanted
    assert server.asked == ["GET s.tar"]
    server.faults["s.tar"] = ["cut"]
    assert named(read(find_entries([f"{server.url}/s.tar"]))) == wanted


def test_large_members_are_asked_for_by_themselves(server: Flaky, folder: Path) -> None:
    with tarfile.open(folder / "large.tar", "w") as archive:
        for number in range(3):
            info = tarfile.TarInfo(f"{number}.png")
            info.size = 40 * 2**20
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    entries = list(find_entries([f"{server.url}/large.tar"]))
    assert len(entries) == 3
    assert server.sent < 60 * 2**20  # members are passed over
    assert [len(data) for _, data in read(entries)] == 3 * [40 * 2**20]
