"""Files are replaced whole, and what is no file is written to."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rali.files import is_full, replace_atomically


def put(path: Path, text: str) -> None:
    replace_atomically(path, lambda target: target.write_text(text))


def test_a_device_stays_a_device(tmp_path: Path) -> None:
    device = tmp_path / "null"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        device.write_text("")
    except (AttributeError, PermissionError):
        pytest.skip("devices are made by root alone")
    put(device, "gone")
    assert stat.S_ISCHR(device.stat().st_mode) and device.read_bytes() == b""
    assert list(tmp_path.iterdir()) == [device]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_gets_it_all(tmp_path: Path) -> None:
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    put(pipe, "x" * 200_000)  # more than a pipe holds
    reader.join(10)
    assert got == ["x" * 200_000] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    file, new = tmp_path / "other" / "a.txt", tmp_path / "other" / "new.txt"
    file.write_text("old")
    links = [tmp_path / name for name in ("link", "link of a link", "to nothing yet")]
    for link, target in zip(links, (file, links[0], new), strict=True):
        link.symlink_to(target)
    put(links[1], "first")
    put(links[2], "second")
    assert all(link.is_symlink() for link in links)
    assert (file.read_text(), new.read_text()) == ("first", "second")


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "n" * 242])
def test_names_may_be_as_long_as_the_system_allows(tmp_path: Path, name: str) -> None:
    put(tmp_path / name, "kept")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_a_kill_left_is_swept_but_not_what_is_being_written(tmp_path: Path) -> None:
    old, young = (tmp_path / f".a[1].csv.{hexadecimal}.tmp" for hexadecimal in ("0" * 8, "1" * 8))
    other = tmp_path / ".b.csv.00000000.tmp"
    for path in (old, young, other):
        path.write_text("half")
    for path in (old, other):
        os.utime(path, (time.time() - 2 * 86400,) * 2)
    put(tmp_path / "a[1].csv", "whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == [young.name, other.name, "a[1].csv"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def _text(path: Path) -> None:
    replace_atomically(path, lambda target: target.write_text("x" * 2**21))


def _tensors(path: Path) -> None:
    import torch

    from rali.student.storage import write_tensors

    write_tensors({"a": torch.zeros(2**20)}, path)


def _checkpoint(path: Path) -> None:
    import torch

    from rali.distill.optim import Checkpoint

    checkpoint = Checkpoint(path, "mark", model=torch.nn.Linear(1000, 1000))
    checkpoint._saved -= 61  # the last save is a minute old
    checkpoint.save(1)


def _ort(path: Path) -> None:
    from rali.export.ort import export_ort
    from rali.scoring.scorer import Scorer

    source = path.with_suffix(".onnx")
    source.symlink_to(Scorer().path)
    try:
        export_ort(source)
    finally:
        source.unlink()


def _table(path: Path) -> None:
    from rali.data.tables import write_records

    noise = np.random.default_rng(0).random(2**18)
    write_records([{"a": value} for value in noise], {"a": float}, path, "manifest")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.txt", _text), ("a.safetensors", _tensors), ("a.pt", _checkpoint), ("a.ort", _ort),
        ("a.parquet", _table), ("a.csv", _table),
    ],
)  # fmt: skip
def test_a_full_disk_is_known_and_keeps_what_was_there(
    small_disk: Path, name: str, write: Callable[[Path], None]
) -> None:
    file = small_disk / name
    file.write_text("old")
    with pytest.raises(Exception) as caught:  # each library has its own
        write(file)
    assert is_full(caught.value), caught.value
    assert file.read_text() == "old" and list(small_disk.iterdir()) == [file]
