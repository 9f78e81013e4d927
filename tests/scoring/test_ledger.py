"""Shards and their ledger: nothing is lost, doubled or mixed, whatever a kill left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rali.errors import InputError
from rali.scoring.keys import Keys
from rali.scoring.ledger import LEDGER, Ledger, model_partition

pytest.importorskip("pyarrow")
SETTINGS: dict[str, Any] = {"weights": "0a1b2c3d4e", "precision": "fp32", "interval": None}
COLUMNS = ("image", "score", "error")


@dataclass(frozen=True)
class Entry:
    key: str


def entries(*numbers: int) -> list[Entry]:
    return [Entry(f"p/{number}.jpg") for number in numbers]


def rows(of: list[Entry]) -> list[dict[str, Any]]:
    return [
        {
            "image": one.key,
            "score": None if "7" in one.key else float(len(one.key)),
            "error": "Gone." if "7" in one.key else None,
        }
        for one in of
    ]


def run(folder: Path, given: list[Entry], size: int = 4, **more: Any) -> list[int]:
    """Write what is missing; returns how many rows each new shard got."""
    sizes = []
    with Ledger(folder, SETTINGS, COLUMNS, **more) as ledger:
        for unit in ledger.units(given, size):
            ledger.write(rows(unit.entries), unit.index)
            sizes.append(len(unit.entries))
        assert ledger.rows == len(given)
    return sizes


def keys_in(output: Path) -> list[str]:
    """What a reader finds in the whole folder, which other files must not disturb."""
    import pyarrow.dataset as ds

    return ds.dataset(output, partitioning="hive").to_table()["image"].to_pylist()


def test_keys_find_exactly_what_they_hold() -> None:
    held = [f"photos/{number}é\udce9.jpg" for number in range(3000)]
    keys = Keys(held)
    assert len(keys) == 3000 and all(key in keys for key in held)
    assert not any(key + "x" in keys for key in held) and "a" not in Keys()


def test_only_what_is_new_is_scored_wherever_it_was_inserted(tmp_path: Path) -> None:
    folder = model_partition(tmp_path, "runs/mine/model", "0a1b2c3d4e")
    assert folder.name == "model=runs-mine-model-0a1b2c3d"
    assert run(folder, entries(*range(0, 20, 2))) == [4, 4, 2]
    assert run(folder, entries(*range(20))) == [4, 4, 2], "the odd ones, no even one again"
    assert run(folder, entries(*range(20))) == []
    assert model_partition(tmp_path, "/elsewhere/model", "0a1b2c3d4e") == folder
    found = keys_in(tmp_path)
    assert sorted(found) == sorted(one.key for one in entries(*range(20)))
    with Ledger(folder, SETTINGS, COLUMNS) as ledger:
        assert [row["image"] for row in ledger.read()] == found
        assert [row["image"] for row in ledger.read(["image"])] == found
        assert (ledger.rows, ledger.failed) == (20, 2)


@pytest.mark.parametrize("harm", ["delete", "cut", "bit", "half a line", "no line", "no ledger"])
def test_damage_is_noticed_said_and_made_again(tmp_path: Path, harm: str) -> None:
    run(tmp_path, entries(*range(12)))
    shard, ledger = tmp_path / "part-000001.parquet", tmp_path / LEDGER
    data, lines = bytearray(shard.read_bytes()), ledger.read_bytes()
    if harm == "delete":
        shard.unlink()
    elif harm == "cut":
        shard.write_bytes(data[:-10])
    elif harm == "bit":
        data[len(data) // 3] ^= 1
        shard.write_bytes(data)
    elif harm == "half a line":
        ledger.write_bytes(lines[:-20])
    elif harm == "no line":
        ledger.write_bytes(b"".join(lines.splitlines(True)[:-1]))
    else:
        ledger.unlink()
    said: list[str] = []
    again = run(tmp_path, entries(*range(12)), say=said.append)
    hurt = harm in ("delete", "cut", "bit")
    assert again == ([4] if hurt else []), "a whole shard without a line is kept"
    assert bool(said) is hurt and all("part-000001.parquet is" in one for one in said)
    assert sorted(keys_in(tmp_path)) == sorted(one.key for one in entries(*range(12)))
    assert run(tmp_path, entries(*range(12)), say=said.append) == [] and len(said) == hurt


def test_other_settings_and_a_second_process_are_refused(tmp_path: Path) -> None:
    run(tmp_path, entries(1, 2))
    other = SETTINGS | {"precision": "int8", "interval": 0.9}
    with (
        pytest.raises(InputError, match="with --precision fp32 and no --interval"),
        Ledger(tmp_path, other, COLUMNS),
    ):
        pass
    with Ledger(tmp_path, other, COLUMNS, restart=True) as ledger:
        assert ledger.rows == 0 and len(list(ledger.new(entries(1)))) == 1
        code = (
            "import sys; from pathlib import Path; from rali.scoring.ledger import Ledger\n"
            "with Ledger(Path(sys.argv[1]), {}, ['image']): pass"
        )
        command = [sys.executable, "-c", code, str(tmp_path)]
        second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Another process is at work" in second.stderr


SLOW = """
import sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_ledger import *
with Ledger(Path(sys.argv[1]), SETTINGS, COLUMNS) as ledger:
    for unit in ledger.units(entries(*range(60)), 2):
        ledger.write(rows(unit.entries), unit.index)
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path) -> None:
    draw = random.Random(1)
    command = [sys.executable, "-c", SLOW, str(tmp_path), str(Path(__file__).parent)]
    for _ in range(3):
        process = subprocess.Popen(command)
        while not (tmp_path / LEDGER).exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
    run(tmp_path, entries(*range(60)), 2)
    assert sorted(keys_in(tmp_path)) == sorted(one.key for one in entries(*range(60)))
    assert not list(tmp_path.glob(".*.tmp"))
    shards = [json.loads(line) for line in (tmp_path / LEDGER).read_text().splitlines()[1:]]
    assert sum(shard["rows"] for shard in shards) == 60
