"""A benchmark that wants a GPU runs anywhere in small, so that it works once there is one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_reward_costs() -> None:
    command = [sys.executable, str(BENCHMARKS / "reward_cost.py"), "--tiny"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split("|")[1:-1] for line in report.splitlines() if line.startswith("| ")][2:]
    assert len(rows) >= 4
    assert "teacher" in rows[-1][0]
    for _, batch, rate, seconds, memory in rows:
        assert int(batch) / float(seconds) == pytest.approx(float(rate), rel=0.02)
        assert float(memory) > 0
    time, share = re.search(
        r"takes ([\d.]+) % of the teacher's time and ([\d.]+) %", report
    ).groups()
    ours = next(row for row in rows if "without" in row[0] and int(row[1]) == int(rows[-1][1]))
    assert float(time) == pytest.approx(100 * float(ours[3]) / float(rows[-1][3]), rel=0.05)
    assert float(share) == pytest.approx(100 * float(ours[4]) / float(rows[-1][4]), rel=0.1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_what_needs_a_gpu_runs_in_small_and_skips_with_a_reason() -> None:
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--tiny"]
    parts = ["providers", "reward", "grpo"]  # the others are those of reward_cost, and an alignment
    command += [word for part in parts for word in ("--only", part)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert all(f"{part}: done" in done.stderr for part in parts), done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert all(row.count("|") == 6 for row in rows)
    assert "| GRPO step, LoRA of" in done.stdout and "from the score of the file" in done.stdout
    assert re.search(r"CUDAExecutionProvider.*(skipped: |from the CPU's scores)", done.stdout)
    assert (
        not (BENCHMARKS / "gpu.md").exists() or "--tiny" not in (BENCHMARKS / "gpu.md").read_text()
    )


def test_one_reader_binds_however_many_workers_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    pytest.importorskip("pyarrow")
    from scale_costs import Costs
    from scale_simulation import commands, places, simulate

    seconds, busy = simulate([[1.0, 50.0, 0.5]] * 100, [1, 1000, 1], 100)
    assert seconds == 100 + 50 + 0.5 and busy == [100, 5000, 50]
    costs = Costs({"a folder": 4e-5, "a tar over HTTP": 2e-4}, 2e-6, 9e-3, 1e-6, 12, 37)
    assert any("| the reader, a folder | 40.0 | 25,000 | 514 |" in line for line in places(costs))
    rows = [line.split(" | ") for line in commands(costs)[2:]]
    hours = {tuple(row[:4]): float(row[4].replace(",", "")) for row in rows}
    one = next(value for key, value in hours.items() if key[1:3] == ("1", "1,000"))
    assert one == pytest.approx(1e9 * 4e-5 / 3600, rel=0.05)
