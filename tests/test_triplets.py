"""Triplets: shards appear whole or not at all, and a killed run goes on where it was."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rali.errors import InputError
from rali.manifest import Row, write_manifest
from rali.reference import build_reference_triplets
from rali.triplets import Triplet, TripletWriter, image_sha256, read_triplets, write_triplets


def triplet(folder: Path, number: int, seed: int = 0) -> Triplet:
    return Triplet(
        image=folder / f"{number}.png",
        image_sha256="0" * 64,
        score=None if number % 2 else 1 + number % 4,
        reasoning=f"sharp, ü {number}",
        raw_text=f"<think>sharp, ü {number}</think>",
        teacher_score=None if number % 3 else 2.5,
        teacher="some-model",
        prompt="Rate it.",
        seed=seed,
        parse_ok=bool(number % 3),
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(70):
        rgb = rng.integers(0, 256, (24 + number, 40, 3), dtype=np.uint8)
        Image.fromarray(rgb).save(folder / f"{number}.png")
        rows.append(Row(folder / f"{number}.png", 1 + number % 5, distortion="noise", severity=2))
    return rows


def test_round_trip_in_shards(tmp_path: Path) -> None:
    written = [triplet(tmp_path / "pics", number) for number in range(10)]
    assert write_triplets(tmp_path / "t", written, shard_size=4) == 10
    shards = sorted(path.name for path in (tmp_path / "t").iterdir())
    assert [name[:14] for name in shards] == [f"triplets-{n:05d}" for n in range(3)]
    assert read_triplets(tmp_path / "t") == written
    assert read_triplets(tmp_path / "t" / shards[1]) == written[4:8]


def test_what_is_done_is_not_written_again(tmp_path: Path) -> None:
    write_triplets(tmp_path, [triplet(tmp_path, 1), triplet(tmp_path, 2)])
    with TripletWriter(tmp_path) as writer:
        assert writer.done == {(tmp_path / "1.png", 0), (tmp_path / "2.png", 0)}
        assert writer.add([triplet(tmp_path, 2), triplet(tmp_path, 2, seed=1)]) == 1
        assert writer.add([triplet(tmp_path, 2, seed=1)]) == 0
    found = [(t.image.name, t.seed) for t in read_triplets(tmp_path)]
    assert found == [("1.png", 0), ("2.png", 0), ("2.png", 1)]


def test_an_error_in_the_block_keeps_what_was_added(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), TripletWriter(tmp_path) as writer:
        writer.add([triplet(tmp_path, 1)])
        raise ZeroDivisionError
    assert len(read_triplets(tmp_path)) == 1


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    with TripletWriter(tmp_path) as one, TripletWriter(tmp_path) as other:
        one.add([triplet(tmp_path, 1), triplet(tmp_path, 2)])
        other.add([triplet(tmp_path, 2), triplet(tmp_path, 3)])
    assert sorted(t.image.name for t in read_triplets(tmp_path)) == ["1.png", "2.png", "3.png"]


def test_a_moved_folder_keeps_its_pictures(tmp_path: Path) -> None:
    write_triplets(tmp_path / "old" / "t", [triplet(tmp_path / "old", 1)])
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_triplets(tmp_path / "new" / "t")[0].image == tmp_path / "new" / "1.png"


def test_unreadable_shards_are_a_sentence(tmp_path: Path) -> None:
    write_triplets(tmp_path, [triplet(tmp_path, n) for n in range(50)])
    (shard,) = tmp_path.glob("*.parquet")
    shard.write_bytes(shard.read_bytes()[:-40])
    for read in (read_triplets, TripletWriter):
        with pytest.raises(InputError, match=r"triplets-00000.*Delete it and run"):
            read(tmp_path)
    write_manifest([Row(tmp_path / "a.png")], tmp_path / "m.parquet")
    with pytest.raises(InputError, match="not a shard of triplets: it has no column image_sha256"):
        read_triplets(tmp_path / "m.parquet")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no Parquet file"):
        read_triplets(tmp_path)
    with pytest.raises(InputError, match="There are no triplets at"):
        read_triplets(tmp_path / "nowhere")
    with pytest.raises(InputError, match="shard_size is 0"):
        TripletWriter(tmp_path, 0)


def test_image_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert image_sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(InputError, match="cannot be read"):
        image_sha256(tmp_path / "b")


# ── reference triplets ───────────────────────────────────────────────────────────────────────────


def test_reference_triplets(tmp_path: Path, pictures: list[Row]) -> None:
    seen: list[tuple[int, int]] = []
    built = build_reference_triplets(
        pictures[:3], tmp_path, count=2, seed=5, progress=lambda *now: seen.append(now)
    )
    assert (built.written, built.kept, built.failures) == (6, 0, [])
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    triplets = read_triplets(tmp_path)
    assert [(t.image, t.seed) for t in triplets] == [
        (r.image, s) for r in pictures[:3] for s in (5, 6)
    ]
    assert len({t.reasoning for t in triplets}) == 6
    for t in triplets:
        assert t.raw_text == t.reasoning != ""
        assert (t.teacher, t.prompt, t.parse_ok) == ("reference", "", True)
        assert t.teacher_score == t.score
        assert t.image_sha256 == image_sha256(t.image)


def test_more_texts_are_added_to_those_there(tmp_path: Path, pictures: list[Row]) -> None:
    build_reference_triplets(pictures[:2], tmp_path / "a", count=1)
    built = build_reference_triplets(pictures[:2], tmp_path / "a", count=3)
    assert (built.written, built.kept) == (4, 2)
    build_reference_triplets(pictures[:2], tmp_path / "b", count=3)
    key = ("image", "seed")
    by_key = [
        {tuple(getattr(t, k) for k in key): t.reasoning for t in read_triplets(tmp_path / name)}
        for name in "ab"
    ]
    assert by_key[0] == by_key[1]


def test_a_broken_picture_is_a_failure_not_an_end(tmp_path: Path, pictures: list[Row]) -> None:
    (tmp_path / "broken.png").write_bytes(b"")
    rows = [pictures[0], Row(tmp_path / "broken.png", 2.0), replace(pictures[1], score=None)]
    built = build_reference_triplets(rows, tmp_path / "t", count=1)
    assert built.written == 2
    assert [path for path, _ in built.failures] == [tmp_path / "broken.png"]
    assert built.failures[0][1]


def test_a_row_nothing_can_be_written_about(tmp_path: Path, pictures: list[Row]) -> None:
    row = replace(pictures[0], distortion="aliens")
    with pytest.raises(InputError, match=r"0\.png: .*aliens"):
        build_reference_triplets([row], tmp_path)
    with pytest.raises(InputError, match="count is 0"):
        build_reference_triplets(pictures, tmp_path, count=0)


def test_processes_write_what_one_process_writes(tmp_path: Path, pictures: list[Row]) -> None:
    environment = dict(os.environ)
    build_reference_triplets(pictures, tmp_path / "one" / "t", count=1, workers=1)
    build_reference_triplets(pictures, tmp_path / "two" / "t", count=1, workers=2)
    assert dict(os.environ) == environment
    assert read_triplets(tmp_path / "one" / "t") == read_triplets(tmp_path / "two" / "t")


SLOW_RUN = """
import sys, time
import rali.reference as reference
from rali.manifest import read_manifest

write = reference.reference_triplets

def slowly(row, **settings):
    time.sleep(0.02)
    return write(row, **settings)

reference.reference_triplets = slowly
rows = read_manifest(sys.argv[1])
reference.build_reference_triplets(rows, sys.argv[2], count=2, workers=1, shard_size=8)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_run_goes_on(tmp_path: Path, pictures: list[Row]) -> None:
    write_manifest(pictures, tmp_path / "m.csv")
    folder = tmp_path / "t"
    command = [sys.executable, "-c", SLOW_RUN, str(tmp_path / "m.csv"), str(folder)]
    run = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while len(list(folder.glob("*.parquet"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    (folder / ".triplets-00009-dead.parquet.abcd.tmp").write_bytes(b"PAR1")  # a shard cut short
    before = read_triplets(folder)
    assert 24 <= len(before) < 140
    built = build_reference_triplets(pictures, folder, count=2)
    assert (built.kept, built.written) == (len(before), 140 - len(before))
    after = read_triplets(folder)
    assert after[: len(before)] == before
    assert [(t.image, t.seed) for t in after] == [(r.image, s) for r in pictures for s in (0, 1)]
    import pyarrow.parquet as pq

    rows = sum(pq.ParquetFile(shard).metadata.num_rows for shard in folder.glob("[!.]*.parquet"))
    assert rows == 140  # nothing lost, nothing twice on disk
    build_reference_triplets(pictures, tmp_path / "whole", count=2)
    assert [t.reasoning for t in read_triplets(tmp_path / "whole")] == [t.reasoning for t in after]
