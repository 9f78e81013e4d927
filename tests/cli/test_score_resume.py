"""`rali score` through kills, signals, full pipes and changed options; real processes."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tiny_onnx import write_model

COUNT = 400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(tmp_path / "m" / "onnx" / "model.onnx")
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(COUNT):
        level = np.full((9, 9, 3), number % 250, np.uint8)
        Image.fromarray(level).save(photos / f"{number}.png")
    (photos / "7.png").write_bytes(b"no picture")
    return tmp_path


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rali", "score", "photos", "--model", "m", *more]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def finish(folder: Path, *more: str) -> tuple[int, str, str]:
    process = start(folder, *more)
    out, err = process.communicate()
    return process.returncode, out, err


def rows_in(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            found: list[dict[str, Any]] = list(csv.DictReader(file))
        return found
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    import pyarrow.parquet as pq

    rows = pq.read_table(path).to_pylist()
    return [{k: v for k, v in row.items() if k != "model"} for row in rows]


def wait_for_lock(process: subprocess.Popen[str]) -> None:
    """Until the command has opened its output; before that, nothing is there to be lost."""
    while process.poll() is None:
        try:
            places = list(Path(f"/proc/{process.pid}/fd").iterdir())
            if any(str(place.readlink()).endswith(".lock") for place in places):
                return
        except OSError:
            pass
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform != "linux", reason="POSIX signals and /proc")
@pytest.mark.parametrize("name", ["s.csv", "s.jsonl", "s.parquet", "shards"])
def test_killed_at_random_the_output_is_the_undisturbed_ones(folder: Path, name: str) -> None:
    assert finish(folder, "-o", "whole.jsonl")[0] == 1
    whole = rows_in(folder / "whole.jsonl")
    draw = random.Random(name)
    codes = []
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        process = start(folder, "-o", name)
        wait_for_lock(process)
        time.sleep(draw.uniform(0.05, 0.3))
        process.send_signal(number)
        _, err = process.communicate()
        codes.append(process.returncode)
        assert "Traceback" not in err
    at_the_end = {-signal.SIGTERM, -signal.SIGHUP, -signal.SIGINT}  # when all is done and closed
    assert set(codes) <= {-9, 143, 129, 130, 1} | at_the_end, codes
    code, _, err = finish(folder, "-o", name)
    assert code == 1 and f"{COUNT - 1} scored, 1 failed" in err, err
    found = rows_in(folder / name)
    if name.endswith("csv"):
        whole = [{k: "" if v is None else str(v) for k, v in row.items()} for row in whole]
    assert sorted(found, key=lambda row: row["image"]) == sorted(whole, key=lambda r: r["image"])


def test_what_was_cut_is_dropped_and_more_pictures_extend(folder: Path) -> None:
    assert finish(folder, "-o", "s.csv")[0] == 1
    whole = rows_in(folder / "s.csv")
    data = (folder / "s.csv").read_bytes()
    (folder / "s.csv").write_bytes(data[: len(data) // 2])
    for number in ("3b", "0a"):
        (folder / "photos" / f"{number}.png").write_bytes((folder / "photos/9.png").read_bytes())
    code, _, err = finish(folder, "-o", "s.csv")
    assert code == 1 and "401 scored, 1 failed" in err and "of them before" in err
    found = rows_in(folder / "s.csv")
    assert len(found) == len({row["image"] for row in found}) == COUNT + 2
    assert all(row in found for row in whole)
    before = (folder / "s.csv").read_bytes()
    for other in (["--max-megapixels", "1"], ["--top", "3"]):
        code, _, err = finish(folder, "-o", "s.csv", *other)
        assert code == 2 and "--restart" in err and (folder / "s.csv").read_bytes() == before
    assert finish(folder, "-o", "s.csv", "--top", "3", "--restart")[0] == 1
    assert len(rows_in(folder / "s.csv")) == 3


def test_selection_and_vectors(folder: Path) -> None:
    where = ["--where", "score >= 2 and 'photos/1' in image"]
    assert (
        finish(folder, "-o", "s.jsonl", "--sort", "worst", *where, "--embeddings", "v.npy")[0] == 1
    )
    found, vectors = rows_in(folder / "s.jsonl"), np.load(folder / "v.npy")
    scores = [row["score"] for row in found]
    assert scores == sorted(scores) and scores[0] >= 2 and len(vectors) == len(found) > 10
    assert np.allclose(1 + vectors @ [0.5, 1, 2], scores, atol=1e-4)
    _, out, _ = finish(folder, "-f", "jsonl", "--sort", "path", "--top", "12")
    names = [Path(json.loads(line)["image"]).stem for line in out.splitlines()]
    assert names == [str(number) for number in range(12)]
    code, _, err = finish(folder, "--where", "__import__('os').exit()")
    assert code == 2 and "no comparison" in err
    code, _, err = finish(folder, "-o", "s.xlsx")
    assert code == 2 and ".parquet" in err


@pytest.mark.parametrize("option", ["--copy-to", "--move-to"])
def test_collected_pictures_overwrite_nothing(folder: Path, option: str) -> None:
    bins = folder / "bad"
    bins.mkdir()
    (bins / "1.png").write_text("mine")
    where = ["--where", "score < 1.05 and not error"]
    code, out, err = finish(folder, "-f", "csv", *where, option, "bad")
    assert code == 1 and (bins / "1.png").read_text() == "mine", err
    chosen = [Path(row["image"]).name for row in csv.DictReader(out.splitlines())]
    assert "1.png" in chosen and len(chosen) > 2
    assert len([p for p in bins.iterdir() if p.suffix == ".png"]) == len(chosen) + 1
    assert (bins / "1-2.png").exists()
    assert (folder / "photos" / "1.png").exists() is (option == "--copy-to")
    again = finish(folder, "-f", "csv", *where, option, "bad")
    assert len([p for p in bins.iterdir() if p.suffix == ".png"]) == len(chosen) + 1, again


@pytest.mark.skipif(os.name != "posix", reason="a shell")
def test_head_ends_without_a_word(folder: Path) -> None:
    line = f"'{sys.executable}' -m rali score photos -m m -f jsonl | head -n 2"
    run = subprocess.run(
        ["sh", "-c", line], cwd=folder, capture_output=True, text=True, check=False
    )
    assert len(run.stdout.splitlines()) == 2 and all(map(json.loads, run.stdout.splitlines()))
    assert "Traceback" not in run.stderr and "Error" not in run.stderr


def test_two_runs_on_one_output_are_refused(folder: Path) -> None:
    from rali.runs.folder import alone_in

    with alone_in(folder / ".s.csv.rali"):
        code, _, err = finish(folder, "-o", "s.csv")
    assert code == 2 and "Another process is at work" in err


@pytest.mark.parametrize("name", ["scores.csv", "scores"])
def test_retry_scores_what_failed_and_nothing_else(folder: Path, name: str) -> None:
    assert finish(folder, "-o", name)[0] == 1
    code, _, err = finish(folder, "-o", name, "--retry")
    assert code == 1 and f"{COUNT - 1} scored, 1 failed" in err, err
    before = rows_in(folder / name)
    Image.fromarray(np.full((9, 9, 3), 7, np.uint8)).save(folder / "photos" / "7.png")
    code, _, err = finish(folder, "-o", name, "--retry")
    assert code == 0 and f"{COUNT} scored, 0 failed" in err, err
    after = rows_in(folder / name)
    assert len(after) == COUNT and len({row["image"] for row in after}) == COUNT
    assert [row for row in after if row in before] == [
        row for row in before if row["image"] != "photos/7.png"
    ]
