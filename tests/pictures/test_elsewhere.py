"""Sources that are sent to a process which stands in another folder and has no standard input."""

from __future__ import annotations

import io
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from rali.pictures.read import open_picture
from rali.pictures.sources import Entries, find_entries

NAMES = ["a.png", "deep/b.png"]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for name in NAMES:
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "photos" / name)
    (tmp_path / "t.csv").write_text("image\nphotos/a.png\n")
    (tmp_path / "list.txt").write_text("photos/deep\nt.csv\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sent(photos: Path, monkeypatch: pytest.MonkeyPatch, entries: Entries) -> list[str]:
    """The keys of the pictures, each of which is opened, as another process finds them."""
    pickled = pickle.dumps(entries)
    monkeypatch.chdir(photos / "elsewhere")
    monkeypatch.setattr(sys, "stdin", None)
    entries = pickle.loads(pickled)
    for entry in entries:
        open_picture(entry)
    return [entry.key for entry in pickle.loads(pickle.dumps(entries))]


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        ("photos", ["photos/a.png", "photos/deep/b.png"]),
        ("./photos/", ["photos/a.png", "photos/deep/b.png"]),
        (".", ["photos/a.png", "photos/deep/b.png"]),
        ("photos/../photos/deep", ["photos/../photos/deep/b.png"]),
        ("phot*/**/*.png", ["photos/a.png", "photos/deep/b.png"]),
        ("ph?tos", ["photos/a.png", "photos/deep/b.png"]),
        ("t.c*", ["photos/a.png"]),
        ("@list.txt", ["photos/deep/b.png", "photos/a.png"]),
    ],
)
def test_keys_are_as_typed_and_places_are_found(
    photos: Path, monkeypatch: pytest.MonkeyPatch, source: str, keys: list[str]
) -> None:
    entries = find_entries([source], recursive=True)
    assert [entry.key for entry in entries] == keys
    assert sent(photos, monkeypatch, entries) == keys


@pytest.mark.parametrize("read_before", [False, True])
def test_a_list_on_standard_input_is_sent_whole(
    photos: Path, monkeypatch: pytest.MonkeyPatch, read_before: bool
) -> None:
    text = io.BytesIO(b"photos/deep\nt.csv\n" + b"photos/a.png\n" * 20_000)  # several blocks
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(text)))
    entries = find_entries(["-"])
    if read_before:
        next(iter(entries))
    assert sent(photos, monkeypatch, entries) == ["photos/deep/b.png", "photos/a.png"]
