"""A machine that fails: a full disk, a disk that is read only, files that vanish, clocks, company.

Each command ends in a sentence or with a right result, and finishes once the cause is gone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.harness import Command, contents, scored, wait_for_children
from rali.data.triplets import read_triplets
from rali.pictures.samples import NOT_SQUARE, sample_files
from rali.runs.folder import alone_in


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A disk of 64 KiB; `mount -o remount,…` makes it another one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def refused(command: Command, folder: Path) -> str:
    """What it says as it ends with code 2."""
    process = command.start(folder)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2 and "Traceback" not in err, err
    return err


def score(photos: Path, *more: object) -> Command:
    return Command(
        "score",
        lambda out: ["score", photos, "-o", out / "x.csv", *map(str, more)],
        lambda out: scored(out / "x.csv"),
        codes=(1,),
    )


def degrade() -> Command:
    photographs = sample_files(NOT_SQUARE[:2])
    kinds = ("--distortion", "blur", "--distortion", "noise")
    return Command(
        "degrade",
        lambda out: ["data", "degrade", *photographs, "--size", 96, *kinds, "-o", out],
        contents,
    )


def rationales(manifest: Path) -> Command:
    return Command(
        "rationales",
        lambda out: ["data", "rationales", manifest, "-o", out],
        lambda out: sorted((t.image.name, t.seed, t.reasoning) for t in read_triplets(out)),
    )


@pytest.mark.parametrize("name", ["score", "degrade", "rationales"])
def test_a_full_disk_is_a_sentence_and_the_same_command_finishes(
    name, photos, manifest, disk, tmp_path
):
    command = {"score": score(photos), "degrade": degrade(), "rationales": rationales(manifest)}[
        name
    ]
    whole = command.finish(tmp_path / "whole")
    (disk / "out").mkdir()
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(1024)):
            pass
    assert "disk is full" in refused(command, disk / "out")
    (disk / "filler").unlink()
    remount(disk, "size=64m")
    assert command.finish(disk / "out") == whole
    assert not list(disk.rglob("*.tmp"))


def test_a_disk_that_is_read_only_is_a_sentence(photos, disk):
    (disk / "out").mkdir()
    remount(disk, "ro")
    for command in (score(photos), degrade()):
        told = refused(command, disk / "out").lower()
        assert "read-only" in told or "no permission" in told, told


def test_pictures_that_vanish_meanwhile_are_rows_with_a_reason(photos, tmp_path):
    copy = tmp_path / "photos"
    shutil.copytree(photos, copy)
    pictures = sorted(copy.glob("*.jpg"))
    command = Command(
        "score",
        lambda out: ["score", *pictures, "-o", out / "x.csv"],
        lambda out: scored(out / "x.csv"),
        codes=(1,),
    )
    process = command.start(tmp_path / "out")
    pictures[-1].unlink()  # the command is still starting
    process.communicate(timeout=300)
    assert process.returncode == 1
    rows = command.result(tmp_path / "out")
    assert [name for name, _, _ in rows] == [str(path) for path in pictures]
    assert [Path(name).name for name, score, _ in rows if score is None] == ["007.jpg", "039.jpg"]


def test_a_clock_that_was_set_back_changes_nothing(tmp_path):
    command, out = degrade(), tmp_path / "out"
    whole = command.finish(out)
    (out / ".manifest.csv.0123abcd.tmp").write_text("what a killed process left")
    later = time.time() + 10 * 365 * 86400  # as files from before look
    for path in out.rglob("*"):
        os.utime(path, (later, later))
    next(out.glob("*blur*")).unlink()
    assert command.finish(out) == whole


def test_two_runs_on_one_output(manifest, tmp_path):
    for command in (degrade(), rationales(manifest)):
        whole = command.finish(tmp_path / command.name / "whole")
        out = tmp_path / command.name / "out"
        running = [command.start(out) for _ in range(2)]
        codes = []
        for process in running:
            _, err = process.communicate(timeout=300)
            assert "Traceback" not in err, err
            assert process.returncode == 0 or "Another process is at work" in err, err
            codes.append(process.returncode)
        assert 0 in codes
        assert command.result(out) == whole


def test_a_killed_sweep_takes_its_command_with_it(manifest, tmp_path):
    """Or the command would keep its folder's lock, and the resumed sweep would be refused."""
    endless = "data rationales {data}/labels.csv --count 1000 -o {out}/texts"
    config = tmp_path / "sweep.yaml"
    config.write_text(f"title: One\ncommands: ['{endless}']\ncases: {{one: {{}}}}\n")
    command = Command(
        "sweep",
        lambda out: ["sweep", config, "--data", manifest.parent, "-o", out],
        lambda out: None,
    )
    process = command.start(tmp_path / "out")
    texts = tmp_path / "out" / "cases" / "one-seed0" / "texts"
    while not (texts / ".lock").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.kill()
    process.communicate(timeout=60)
    wait_for_children(process.pid, "the sweep")
    with alone_in(texts):
        pass


def test_a_damaged_shard_is_named_and_only_its_texts_are_written_again(manifest, tmp_path):
    command, out = rationales(manifest), tmp_path / "out"
    whole = command.finish(out)
    shard = next(out.glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-20])
    told = refused(command, out)
    assert shard.name in told and "Delete it and run the same command again" in told
    shard.unlink()
    assert command.finish(out) == whole
