"""`rali score --engine ray` as a real process: the local engine's rows, also after kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
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


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a Ray with two cores that was started in another folder."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # of this test's own, as Ray wants one from 2.59
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a-token-of-this-test-alone-0123456789")
    code = (
        "import ray, sys; context = ray.init(address='local', num_cpus=2, include_dashboard=False, "
        "log_to_driver=False, logging_level='ERROR'); "
        "print(context.address_info['address'], flush=True); sys.stdin.read()"
    )
    (tmp_path / "elsewhere").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path / "elsewhere",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    yield process.stdout.readline().strip()
    process.communicate("")


def test_a_cluster_that_stands_elsewhere(
    tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "m" / "onnx" / "model.onnx")
    (tmp_path / "photos").mkdir()
    for number in range(20):
        Image.fromarray(np.full((9, 9, 3), number, np.uint8)).save(
            tmp_path / "photos" / f"{number}.png"
        )
    (tmp_path / "list.txt").write_text("photos/19.png\n")
    command = [sys.executable, "-m", "rali", "score", "photos/1?.png", "@list.txt", "-"]
    command += ["--model", "m"]

    def run(*more: str, code: int = 0) -> str:
        done = subprocess.run(
            [*command, *more], cwd=tmp_path, input="photos\n", capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        return done.stderr

    run("-o", "local")
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    said = run("-o", "out", "--engine", "ray")
    assert said.splitlines()[:2] == [
        f"rali: Joining the Ray at {cluster}.",
        "rali: Ray has at most 2 workers on 1 machine, with 1 core each.",
    ]
    assert rows_in(tmp_path / "out") == rows_in(tmp_path / "local")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another-token-0123456789-0123456789")
    said = run("-o", "none", "--engine", "ray", code=2)
    assert said.splitlines()[1].startswith(f"rali: There is no Ray at RAY_ADDRESS={cluster}, or ")
