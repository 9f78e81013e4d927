"""`rali score --engine ray` as a real process: the local engine's rows, also after kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiny_onnx import write_model

pytest.importorskip("ray", reason="Ray is not installed: pip install 'rali[scale]'")
pytest.importorskip("ray.data")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc"),
]


def score(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rali", "score", "photos", "--model", "m", *more]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def rows_in(folder: Path) -> dict[str, tuple[float | None, str | None]]:
    import pyarrow.parquet as pq

    rows = pq.read_table(folder).to_pylist()
    found = {row["image"]: (row["score"], row["error"]) for row in rows}
    assert len(found) == len(rows)
    return found


def descendants(parent: int) -> list[int]:
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(status.parent.name)] = int(fields[1])
    found, layer = [], [parent]
    while layer:
        layer = [child for child, its in parents.items() if its in layer]
        found += layer
    return found


def kill_a_worker(process: subprocess.Popen[str], killed: list[int]) -> None:
    """Kill the first of Ray's processes that calls itself a worker of ours."""
    while process.poll() is None and not killed:
        for pid in descendants(process.pid):
            try:
                title = Path(f"/proc/{pid}/cmdline").read_bytes()
                if title.startswith(b"ray::MapWorker("):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return
            except OSError:
                continue
        time.sleep(0.02)


def test_a_killed_worker_and_a_second_run_change_no_row(tmp_path: Path) -> None:
    write_model(tmp_path / "m" / "onnx" / "model.onnx")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(600):
        Image.fromarray(np.full((9, 9, 3), number % 250, np.uint8)).save(photos / f"{number}.png")
    (photos / "7.png").write_bytes(b"no picture")
    score(tmp_path, "-o", "local", "--threads", "1").communicate()
    expected = rows_in(tmp_path / "local")
    assert len(expected) == 600

    process, killed = score(tmp_path, "-o", "out", "--engine", "ray", "--workers", "2"), list[int]()
    killer = threading.Thread(target=kill_a_worker, args=(process, killed))
    killer.start()
    _, said = process.communicate()
    killer.join()
    assert process.returncode == 1, said
    assert killed, "no worker of Ray's was seen"
    assert rows_in(tmp_path / "out") == expected
    assert all(line.startswith("rali: ") for line in said.splitlines()), said
    assert "ray_remote_args" not in said

    Image.fromarray(np.full((9, 9, 3), 251, np.uint8)).save(photos / "new.png")
    again = score(tmp_path, "-o", "out", "--engine", "ray", "--workers", "1")
    _, said = again.communicate()
    assert again.returncode == 1 and "600 of them before" in said, said
    found = rows_in(tmp_path / "out")
    assert found.pop("photos/new.png")[0] is not None and found == expected
